// Fails if packages of the workspace depend on each other in a circle, dev-dependencies included
// (Cargo allows those circles; they make packages impossible to publish and slow to build).
// Reads the output of `cargo metadata --no-deps` from standard input.
import { readFileSync } from "node:fs";

const { packages } = JSON.parse(readFileSync(0, "utf8"));
const names = new Set(packages.map((each) => each.name));
const dependencies = new Map(
  packages.map((each) => [
    each.name,
    each.dependencies.map((dependency) => dependency.name).filter((name) => names.has(name)),
  ]),
);

function visit(name, path) {
  if (path.includes(name)) {
    console.error(`error: a circle of packages: ${[...path, name].join(" -> ")}`);
    process.exit(1);
  }
  for (const dependency of dependencies.get(name)) visit(dependency, [...path, name]);
}

for (const name of names) visit(name, []);
