use super::*;

/// Publisher 0 publishes five messages, one after the other: number n is invoked at 10n, returns at
/// 10n + 5 and stands at n + 1. Two subscriptions get them all, and so does the last reader.
fn good() -> History {
    let all = || (0..5).map(|n| entry(n + 1, n)).collect();
    History {
        publishes: (0..5)
            .map(|n| publish(value(0, n), 10 * n, ok(at(FIRST_LIFE, n + 1), 10 * n + 5)))
            .collect(),
        subscribers: vec![
            subscriber(SubscriberStart::After(at(FIRST_LIFE, 0)), all()),
            subscriber(SubscriberStart::Earliest, all()),
        ],
        reads: vec![Read {
            topic: topic(),
            node: 1,
            invoked: Duration::from_millis(30),
            head: at(FIRST_LIFE, 3),
        }],
        faults: Vec::new(),
        finals: vec![last(FIRST_LIFE, 1, (0..5).map(|n| (n + 1, value(0, n))))],
    }
}

/// Three messages in the first life and two in the second. The first subscription went through both;
/// the second got one of the first life, and missed the others with their life.
fn wiped() -> History {
    let second =
        |sequence, counter| Observation::Entry(at(SECOND_LIFE, sequence), Some(value(0, counter)));
    let reset = Observation::EpochChanged(SECOND_LIFE);
    let mut history = good();
    for n in 3..5 {
        history.publishes[n].ending = ok(at(SECOND_LIFE, n as u64 - 2), 10 * n as u64 + 5);
    }
    history.subscribers[0].observations = vec![
        entry(1, 0),
        entry(2, 1),
        entry(3, 2),
        reset,
        second(1, 3),
        second(2, 4),
    ];
    history.subscribers[1].observations = vec![entry(1, 0), reset, second(1, 3), second(2, 4)];
    history.finals = vec![last(SECOND_LIFE, 1, [(1, value(0, 3)), (2, value(0, 4))])];
    history
}

#[track_caller]
fn refuses(history: &History, plan: &Plan, checks: &[Check]) {
    let report = history.check(plan);
    let found = refused_by(history, plan);
    assert_eq!(found, checks.iter().copied().collect(), "{report}");
}

#[test]
fn a_correct_history_passes() {
    refuses(&good(), &Plan::new(), &[]);
    refuses(&wiped(), &Plan::new().with_wipes(1), &[]);
}

#[test]
fn a_message_that_nobody_published_is_unexpected() {
    let mut history = good();
    for subscriber in &mut history.subscribers {
        subscriber.observations.push(entry(6, 99));
    }
    history.finals[0]
        .entries
        .push((Sequence::new(6), Some(value(0, 99))));
    refuses(&history, &Plan::new(), &[Check::Unexpected]);
}

#[test]
fn an_altered_payload_is_unexpected() {
    let mut history = good();
    history.subscribers[0].observations[2] = Observation::Entry(at(FIRST_LIFE, 3), None);
    refuses(&history, &Plan::new(), &[Check::Unexpected]);
}

#[test]
fn a_message_published_to_another_topic_is_unexpected() {
    let mut history = good();
    history.publishes[4].topic = Topic::new("another").unwrap();
    let found = refused_by(&history, &Plan::new());
    assert!(found.contains(&Check::Unexpected), "{found:?}");
}

#[test]
fn a_message_whose_publish_failed_is_an_aborted_read() {
    let mut history = good();
    history.publishes[4].ending = Ending::Fail;
    refuses(&history, &Plan::new(), &[Check::AbortedRead]);
}

#[test]
fn a_message_of_unknown_outcome_may_be_there_or_not() {
    let mut history = good();
    history.publishes[4].ending = Ending::Unknown;
    refuses(&history, &Plan::new(), &[]);
    history.finals[0].entries.pop();
    for subscriber in &mut history.subscribers {
        subscriber.observations.pop();
    }
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn a_message_at_two_positions_is_a_duplicate() {
    let mut history = good();
    history.finals[0]
        .entries
        .push((Sequence::new(6), Some(value(0, 4))));
    refuses(&history, &Plan::new(), &[Check::Duplicate]);
}

#[test]
fn a_message_delivered_twice_is_a_duplicate_even_across_lives() {
    let mut history = wiped();
    history.publishes[2].ending = Ending::Unknown;
    history.subscribers[1].observations = vec![
        entry(1, 0),
        Observation::EpochChanged(SECOND_LIFE),
        Observation::Entry(at(SECOND_LIFE, 1), Some(value(0, 3))),
        Observation::Entry(at(SECOND_LIFE, 2), Some(value(0, 4))),
        Observation::Entry(at(SECOND_LIFE, 3), Some(value(0, 2))),
    ];
    history.finals[0]
        .entries
        .push((Sequence::new(3), Some(value(0, 2))));
    // Nobody got it twice: the second subscription had missed it in the first life. The first, which
    // had got it, must not get it again.
    let again = Observation::Entry(at(SECOND_LIFE, 3), Some(value(0, 2)));
    refuses(&history, &Plan::new().with_wipes(1), &[]);
    history.subscribers[0].observations.push(again);
    refuses(&history, &Plan::new().with_wipes(1), &[Check::Duplicate]);
}

#[test]
fn a_message_stored_again_after_its_receipt_is_a_duplicate() {
    let mut history = wiped();
    history.finals[0]
        .entries
        .push((Sequence::new(3), Some(value(0, 2))));
    let found = refused_by(&history, &Plan::new().with_wipes(1));
    assert!(found.contains(&Check::Duplicate), "{found:?}");
}

#[test]
fn two_messages_at_one_position_diverge() {
    let mut history = good();
    history
        .publishes
        .push(publish(value(1, 0), 0, Ending::Unknown));
    history.subscribers[1].observations[2] =
        Observation::Entry(at(FIRST_LIFE, 3), Some(value(1, 0)));
    refuses(&history, &Plan::new(), &[Check::Divergence]);
}

#[test]
fn a_sequence_that_nothing_holds_is_a_hole() {
    let mut history = good();
    // The third message was never acknowledged, and nothing stands where it should.
    history.publishes[2].ending = Ending::Unknown;
    history.finals[0].entries.remove(2);
    history.subscribers.clear();
    history.reads.clear();
    let plan = Plan::new().with_entries(0);
    refuses(&history, &plan, &[Check::Hole]);
    refuses(&history, &plan.sparse(), &[]);
}

#[test]
fn an_acknowledged_message_missing_at_the_end_of_a_stream_is_lost() {
    let mut history = good();
    history.subscribers[0].observations.pop();
    refuses(&history, &Plan::new(), &[Check::LostWrite]);
    // Nobody said that it had been followed to the end.
    history.subscribers[0].drained = false;
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn an_acknowledged_message_missing_at_the_beginning_is_lost() {
    let mut history = good();
    history.subscribers[1].observations.remove(0);
    refuses(&history, &Plan::new(), &[Check::LostWrite]);
    history.subscribers[1].start = SubscriberStart::Unknown;
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn an_acknowledged_message_missing_after_a_reset_is_lost() {
    let mut history = wiped();
    history.subscribers[1].observations.remove(2);
    refuses(&history, &Plan::new().with_wipes(1), &[Check::LostWrite]);
}

#[test]
fn an_acknowledged_message_missing_in_the_middle_of_sparse_sequences_is_lost() {
    let mut history = good();
    history.subscribers[0].observations.remove(2);
    refuses(&history, &Plan::new().sparse(), &[Check::LostWrite]);
    refuses(&history, &Plan::new(), &[Check::LostWrite, Check::Step]);
}

#[test]
fn an_acknowledged_message_that_the_log_does_not_hold_at_the_end_is_unseen() {
    let mut history = good();
    history.finals[0].entries.remove(4);
    refuses(&history, &Plan::new(), &[Check::Unseen]);
    history.finals[0].entries.clear();
    history.finals[0].floor = Sequence::new(6);
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn a_step_back_is_refused() {
    let mut history = good();
    history.subscribers[0].observations.swap(1, 2);
    refuses(&history, &Plan::new(), &[Check::Step]);
    refuses(&history, &Plan::new().sparse(), &[Check::Step]);
}

#[test]
fn a_step_into_another_life_without_a_reset_is_refused() {
    let mut history = wiped();
    history.subscribers[0].observations.remove(3);
    refuses(&history, &Plan::new().with_wipes(1), &[Check::Step]);
}

#[test]
fn nothing_follows_the_end() {
    let mut history = good();
    history.subscribers[0]
        .observations
        .insert(4, Observation::Closed);
    refuses(&history, &Plan::new(), &[Check::Step]);
}

#[test]
fn a_publishers_messages_keep_its_order() {
    let mut history = good();
    // The fourth and fifth were under way together, and swapped places.
    history.publishes[3].ending = ok(at(FIRST_LIFE, 5), 60);
    history.publishes[4].ending = ok(at(FIRST_LIFE, 4), 60);
    for subscriber in &mut history.subscribers {
        subscriber.observations[3] = entry(4, 4);
        subscriber.observations[4] = entry(5, 3);
    }
    history.finals[0].entries[3].1 = Some(value(0, 4));
    history.finals[0].entries[4].1 = Some(value(0, 3));
    refuses(&history, &Plan::new(), &[Check::PublisherOrder]);
    // Given up by the library, the earlier one may land later.
    history.publishes[3].ending = Ending::Unknown;
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn what_returned_before_another_began_comes_first() {
    let mut history = good();
    // Another publisher's message stands first although it began last.
    history.publishes[0] = publish(value(1, 0), 100, ok(at(FIRST_LIFE, 1), 105));
    for subscriber in &mut history.subscribers {
        subscriber.observations[0] = Observation::Entry(at(FIRST_LIFE, 1), Some(value(1, 0)));
    }
    history.finals[0].entries[0].1 = Some(value(1, 0));
    refuses(&history, &Plan::new(), &[Check::RealTimeOrder]);
    history.publishes[0].invoked = Duration::from_millis(14);
    refuses(&history, &Plan::new(), &[]);
}

#[test]
fn a_read_that_misses_what_was_acknowledged_is_stale() {
    let mut history = good();
    history.reads[0].head = at(FIRST_LIFE, 2);
    refuses(&history, &Plan::new(), &[Check::Staleness]);
    let mut history = wiped();
    history.reads[0].invoked = Duration::from_millis(100);
    refuses(&history, &Plan::new().with_wipes(1), &[Check::Staleness]);
}

#[test]
fn a_gap_in_place_of_what_was_trimmed_passes() {
    let mut history = good();
    history.subscribers[0].observations.splice(
        1..3,
        [Observation::Gap(
            FIRST_LIFE,
            Sequence::new(2),
            Sequence::new(3),
        )],
    );
    history.finals[0].entries.drain(..3);
    history.finals[0].floor = Sequence::new(4);
    refuses(&history, &Plan::new().with_gaps(), &[]);
    refuses(
        &history,
        &Plan::new(),
        &[Check::SpuriousGap, Check::LostWrite],
    );
}

#[test]
fn a_gap_with_wrong_bounds_is_spurious() {
    for (first, last) in [(1, 3), (3, 3), (2, 1)] {
        let mut history = good();
        history.subscribers[0].observations.splice(
            1..3,
            [Observation::Gap(
                FIRST_LIFE,
                Sequence::new(first),
                Sequence::new(last),
            )],
        );
        history.finals[0].entries.drain(..3);
        history.finals[0].floor = Sequence::new(4);
        let found = refused_by(&history, &Plan::new().with_gaps());
        assert!(
            found.contains(&Check::SpuriousGap),
            "{first} to {last}: {found:?}"
        );
    }
}

#[test]
fn a_gap_of_what_is_still_there_is_spurious() {
    let mut history = good();
    history.subscribers[0].observations.splice(
        1..3,
        [Observation::Gap(
            FIRST_LIFE,
            Sequence::new(2),
            Sequence::new(3),
        )],
    );
    refuses(&history, &Plan::new().with_gaps(), &[Check::SpuriousGap]);
}

#[test]
fn a_reset_without_a_wipe_is_spurious() {
    let mut history = good();
    history.subscribers[0]
        .observations
        .insert(2, Observation::EpochChanged(FIRST_LIFE));
    refuses(&history, &Plan::new(), &[Check::SpuriousGap]);
    history.subscribers[0].observations[2] = Observation::AheadOfHead(FIRST_LIFE);
    refuses(&history, &Plan::new().with_wipes(1), &[Check::SpuriousGap]);
}

#[test]
fn more_lives_than_wipes_are_refused() {
    refuses(
        &wiped(),
        &Plan::new(),
        &[Check::EpochChain, Check::SpuriousGap],
    );
}

#[test]
fn a_node_left_behind_in_another_life_is_refused() {
    let mut history = wiped();
    history.subscribers[1].observations.truncate(1);
    refuses(
        &history,
        &Plan::new().with_wipes(1),
        &[Check::EpochChain, Check::LostWrite],
    );
}

#[test]
fn nodes_that_went_through_lives_in_different_orders_are_refused() {
    let mut history = wiped();
    history.subscribers[1].observations = vec![
        Observation::Entry(at(SECOND_LIFE, 1), Some(value(0, 3))),
        Observation::EpochChanged(FIRST_LIFE),
    ];
    history.subscribers[1].drained = false;
    history.finals.clear();
    let found = refused_by(&history, &Plan::new().with_wipes(1));
    assert!(found.contains(&Check::EpochChain), "{found:?}");
}

#[test]
fn a_run_in_which_too_little_happened_proves_nothing() {
    refuses(&History::default(), &Plan::new(), &[Check::Vacuity]);
    refuses(&good(), &Plan::new().with_publishes(6), &[Check::Vacuity]);
    refuses(&good(), &Plan::new().with_entries(11), &[Check::Vacuity]);
    refuses(&good(), &Plan::new().with_reads(2), &[Check::Vacuity]);
    refuses(&good(), &Plan::new().with_faults(1), &[Check::Vacuity]);
}

#[test]
fn a_report_stays_short_however_much_is_wrong() {
    let mut history = good();
    for n in 0..10_000 {
        history.subscribers[0]
            .observations
            .push(entry(n + 6, n + 1_000));
    }
    let report = history.check(&Plan::new()).to_string();
    assert!(report.lines().count() < 20, "{report}");
    assert!(report.contains("more"), "{report}");
}
