//! The arguments of the scripts that append: see `lua/append.lua` and `lua/quick.lua`.

use std::io::Write as _;

use redis::RedisWrite;
use scaleout_core::{Epoch, Position, Sequence};

use crate::{
    append::Append,
    keys::Key,
    wire::{self, Mark, State},
};

/// What a call is told.
pub(crate) struct Settings {
    pub(crate) mark: Mark,
    pub(crate) expiry: u128,
    pub(crate) trim: &'static str,
    pub(crate) keep: usize,
    pub(crate) weigh: usize,
    pub(crate) keep_bytes: usize,
}

/// Writes what `append.lua` takes.
pub(crate) fn write_batch(
    command: &mut redis::Cmd,
    settings: &Settings,
    batch: &[Append],
    guesses: &[Option<State>],
) {
    let sizes = batch.iter().flat_map(|append| {
        let name = append.key.meta().len();
        [
            name,
            name + 2,
            64,
            64,
            20,
            append.frame.bytes().len() + wire::HEADER,
        ]
    });
    command.reserve_space_for_args(sizes.chain([20; 7]));
    command.arg(2 * batch.len());
    for append in batch {
        write_keys(command, append);
    }
    command
        .arg(&Epoch::random().get().to_be_bytes())
        .arg(settings.expiry.to_string())
        .arg(settings.trim)
        .arg(settings.keep)
        .arg(settings.weigh)
        .arg(settings.keep_bytes);
    for (append, guess) in batch.iter().zip(guesses) {
        write_frame(command, settings.mark, append, guess.as_ref());
    }
}

/// Writes what `quick.lua` takes.
pub(crate) fn write_one(command: &mut redis::Cmd, mark: Mark, append: &Append, guess: &State) {
    command.arg(2);
    write_keys(command, append);
    write_frame(command, mark, append, Some(guess));
}

fn write_keys(command: &mut redis::Cmd, append: &Append) {
    let meta = append.key.meta();
    command.arg(meta);
    write_parts(command, &[meta.as_bytes(), Key::STREAM.as_bytes()]);
}

/// The state expected, the state after, the entry id, the value.
fn write_frame(command: &mut redis::Cmd, mark: Mark, append: &Append, guess: Option<&State>) {
    let frame = &append.frame;
    let len = frame.len();
    let first = match guess {
        Some(state) => state.next(),
        // The script fills it in.
        None => Position::new(Epoch::new(0), Sequence::ZERO),
    };
    command
        .arg(guess.map_or(&[][..], State::as_bytes))
        .arg(State::after(mark, first, frame).as_bytes());
    let last = first.sequence.plus(len.into()).previous();
    command.write_arg_fmt(format_args!("{last}-{len}"));
    write_parts(command, &[&wire::header(first, len), frame.bytes()]);
}

fn write_parts(command: &mut redis::Cmd, parts: &[&[u8]]) {
    let mut argument = command.writer_for_next_arg();
    for part in parts {
        // It writes into memory.
        let _ = argument.write_all(part);
    }
}
