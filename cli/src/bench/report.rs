//! What a run found, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    Args, ROUNDS, TOPICS,
    bare::Bare,
    latency::{Latency, percentile},
    round::{Compared, Round, median},
};

/// A run. Rates are medians over the rounds, in messages per second; times are in microseconds; a
/// ratio is the library's figure divided by the bare client's.
#[derive(Serialize)]
pub(super) struct Report {
    backend: &'static str,
    size: usize,
    seconds: u64,
    rounds: usize,
    throughput: Rate,
    single: Rate,
    /// One topic, divided by what the bare client makes of single messages.
    throughput_to_bare_single: f64,
    latency: Times,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Serialize)]
struct Rate {
    bare: &'static str,
    messages_per_second: f64,
    bare_messages_per_second: f64,
    ratio: f64,
    /// How many publishes were in flight on our side.
    in_flight: usize,
    /// Messages over all rounds that our subscribers were told are lost.
    lost: u64,
    /// Messages over all rounds that the bare subscribers never got.
    bare_lost: u64,
}

#[derive(Serialize)]
struct Times {
    p50_us: f64,
    p99_us: f64,
    bare_p50_us: f64,
    bare_p99_us: f64,
    ratio: f64,
    samples: usize,
}

/// Processor time per message at full load on one topic, publisher and subscriber together.
#[derive(Serialize)]
struct Cpu {
    us_per_message: f64,
    bare_us_per_message: f64,
    ratio: f64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) bytes_per_idle_topic: Option<u64>,
}

impl Report {
    pub(super) fn new<B: Bare>(
        args: &Args,
        throughput: &Compared,
        single: &Compared,
        latency: &Latency,
        memory: Memory,
    ) -> Self {
        Self {
            backend: B::BACKEND,
            size: args.size,
            seconds: args.seconds,
            rounds: ROUNDS,
            throughput: Rate::new(B::THROUGHPUT, throughput, args.publishers as usize),
            single: Rate::new(B::SINGLE, single, TOPICS),
            throughput_to_bare_single: hundredths(
                median(&throughput.ours, Round::messages_per_second)
                    / median(&single.bare, Round::messages_per_second),
            ),
            latency: Times::new(latency),
            cpu: Cpu::new(throughput),
            memory,
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            throughput,
            single,
            latency,
            cpu,
            ..
        } = self;
        writeln!(
            out,
            "{}, {}-byte messages, medians of {} rounds of {} s\n",
            self.backend, self.size, self.rounds, self.seconds
        )?;
        writeln!(
            out,
            "{:<40}{:>13}{:>13}{:>9}",
            "", "scaleout", "bare", "ratio"
        )?;
        let mut row = |what: &str, ours: String, bare: String, ratio: f64| {
            writeln!(out, "{what:<40}{ours:>13}{bare:>13}{ratio:>8.2}x")
        };
        let rate = |rate: f64| format!("{rate:.0}/s");
        let time = |us: f64| format!("{us:.1} us");
        row(
            &format!("one topic, {} publishers", throughput.in_flight),
            rate(throughput.messages_per_second),
            rate(throughput.bare_messages_per_second),
            throughput.ratio,
        )?;
        row(
            &format!("one message per frame, {} topics", single.in_flight),
            rate(single.messages_per_second),
            rate(single.bare_messages_per_second),
            single.ratio,
        )?;
        row(
            "one topic, against bare single messages",
            rate(throughput.messages_per_second),
            rate(single.bare_messages_per_second),
            self.throughput_to_bare_single,
        )?;
        row(
            "publish to delivery, idle, p50",
            time(latency.p50_us),
            time(latency.bare_p50_us),
            latency.ratio,
        )?;
        row(
            "publish to delivery, idle, p99",
            time(latency.p99_us),
            time(latency.bare_p99_us),
            latency.p99_us / latency.bare_p99_us,
        )?;
        row(
            "processor time per message, one topic",
            time(cpu.us_per_message),
            time(cpu.bare_us_per_message),
            cpu.ratio,
        )?;
        if let Some(bytes) = self.memory.bytes_per_idle_topic {
            writeln!(
                out,
                "{:<40}{:>13}",
                "memory per idle topic",
                format!("{bytes} B")
            )?;
        }
        writeln!(out, "\nbare, one topic: {}", throughput.bare)?;
        writeln!(out, "bare, one message per frame: {}", single.bare)?;
        for (what, lost) in [
            ("scaleout named as lost, one topic", throughput.lost),
            ("scaleout named as lost, one message per frame", single.lost),
            ("bare lost, one topic", throughput.bare_lost),
            ("bare lost, one message per frame", single.bare_lost),
        ] {
            if lost > 0 {
                writeln!(out, "{what}: {lost} messages")?;
            }
        }
        Ok(())
    }
}

impl Rate {
    fn new(manner: &'static str, rounds: &Compared, in_flight: usize) -> Self {
        let ours = median(&rounds.ours, Round::messages_per_second);
        let bare = median(&rounds.bare, Round::messages_per_second);
        Self {
            bare: manner,
            messages_per_second: ours.round(),
            bare_messages_per_second: bare.round(),
            ratio: hundredths(ours / bare),
            in_flight,
            lost: rounds.ours.iter().map(|round| round.lost).sum(),
            bare_lost: rounds.bare.iter().map(|round| round.lost).sum(),
        }
    }
}

impl Times {
    fn new(latency: &Latency) -> Self {
        let (ours, bare) = (percentile(&latency.ours, 50), percentile(&latency.bare, 50));
        Self {
            p50_us: hundredths(ours),
            p99_us: hundredths(percentile(&latency.ours, 99)),
            bare_p50_us: hundredths(bare),
            bare_p99_us: hundredths(percentile(&latency.bare, 99)),
            ratio: hundredths(ours / bare),
            samples: latency.ours.len(),
        }
    }
}

impl Cpu {
    fn new(rounds: &Compared) -> Self {
        let ours = median(&rounds.ours, Round::cpu_us_per_message);
        let bare = median(&rounds.bare, Round::cpu_us_per_message);
        Self {
            us_per_message: hundredths(ours),
            bare_us_per_message: hundredths(bare),
            ratio: hundredths(ours / bare),
        }
    }
}

/// More digits than these would claim more than was measured.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
