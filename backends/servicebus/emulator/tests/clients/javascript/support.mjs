// The emulator's address, faults, and management over plain HTTP.

import { randomUUID } from "node:crypto";

import { ServiceBusAdministrationClient, ServiceBusClient } from "@azure/service-bus";

export const CONNECTION_STRING = process.env.SERVICEBUS_CONNECTION_STRING;
const ADDRESS = process.env.SERVICEBUS_ADDRESS;

/** The management client knows only HTTPS; the emulator has no certificate. */
const plain = {
    name: "plain",
    sendRequest(request, next) {
        request.url = request.url.replace("https://", "http://");
        request.allowInsecureConnection = true;
        return next(request);
    },
};

export function administration(connectionString = CONNECTION_STRING) {
    const admin = new ServiceBusAdministrationClient(connectionString, {
        retryOptions: { maxRetries: 0 },
    });
    admin.pipeline.addPolicy(plain);
    return admin;
}

/** A client that gives up at once, for errors that are to be seen. */
export function impatient(connectionString = CONNECTION_STRING, timeoutInMs = 10_000) {
    return new ServiceBusClient(connectionString, { retryOptions: { maxRetries: 0, timeoutInMs } });
}

/** Makes the emulator have a fault. */
export async function fault(name, parameters = {}) {
    const query = new URLSearchParams(parameters);
    const answer = await fetch(`http://${ADDRESS}/$emulator/faults/${name}?${query}`, { method: "POST" });
    if (!answer.ok) {
        throw new Error(await answer.text());
    }
}

/** A name that no other test has. */
export function unique(prefix) {
    return `${prefix}-${randomUUID().slice(0, 12)}`;
}

/** Waits until this is true. */
export async function eventually(what, seconds = 20) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
        if (await what()) {
            return;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`not within ${seconds} seconds: ${what}`);
}
