"""The emulator as the Python SDK (azure-servicebus) sees it."""

import datetime
import threading
import time
import unittest
from datetime import timedelta, timezone

from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus import exceptions
from azure.servicebus.management import CorrelationRuleFilter, SqlRuleFilter
from azure.core.exceptions import ClientAuthenticationError, ResourceExistsError, ResourceNotFoundError

from support import CONNECTION_STRING, Case, administration, eventually, fault, name


class SdkCase(Case):
    def setUp(self):
        super().setUp()
        self.client = self.connect()

    def connect(self, connection_string=CONNECTION_STRING, **settings):
        client = ServiceBusClient.from_connection_string(connection_string, **settings)
        self.addCleanup(client.close)
        return client

    def send(self, entity, *messages, client=None):
        with (client or self.client).get_queue_sender(entity) as sender:
            sender.send_messages([ServiceBusMessage(m) if isinstance(m, str) else m for m in messages])

    def receiver(self, entity, **settings):
        return self.opened(self.client.get_queue_receiver(entity, **settings))

    def opened(self, receiver):
        """Opened before the first wait, which would otherwise have to last for opening, too."""
        receiver.__enter__()
        self.addCleanup(receiver.close)
        return receiver

    def dead_letters(self, entity):
        return self.receiver(entity, sub_queue=ServiceBusSubQueue.DEAD_LETTER)

    def one(self, receiver, seconds=10):
        messages = receiver.receive_messages(1, max_wait_time=seconds)
        self.assertEqual(len(messages), 1, "a message comes")
        return messages[0]

    def none(self, receiver):
        self.assertEqual(receiver.receive_messages(1, max_wait_time=0.3), [])


class Sending(SdkCase):
    def test_what_is_sent_is_received(self):
        queue = self.queue()
        sent = ServiceBusMessage(
            b"\x00\xff body",
            message_id="id",
            correlation_id="correlation",
            subject="subject",
            content_type="application/x",
            reply_to="reply",
            to="to",
            application_properties={"text": "ä", "int": 3, "float": 1.5, "bool": True},
            time_to_live=timedelta(hours=1),
        )
        self.send(queue, sent)
        got = self.one(self.receiver(queue))
        self.assertEqual(b"".join(got.body), b"\x00\xff body")
        self.assertEqual(
            (got.message_id, got.correlation_id, got.subject, got.content_type, got.reply_to, got.to),
            ("id", "correlation", "subject", "application/x", "reply", "to"),
        )
        self.assertEqual(
            got.application_properties, {b"text": "ä".encode(), b"int": 3, b"float": 1.5, b"bool": True}
        )
        self.assertEqual((got.sequence_number, got.enqueued_sequence_number, got.delivery_count), (1, 1, 0))
        self.assertEqual(got.time_to_live, timedelta(hours=1))
        age = datetime.datetime.now(timezone.utc) - got.enqueued_time_utc
        self.assertLess(abs(age), timedelta(seconds=10))

    def test_order_is_kept(self):
        queue = self.queue()
        with self.client.get_queue_sender(queue) as sender:
            for number in range(20):
                sender.send_messages(ServiceBusMessage(str(number)))
        receiver = self.receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        got = []
        while len(got) < 20:
            got += receiver.receive_messages(20, max_wait_time=5)
        self.assertEqual([str(m) for m in got], [str(number) for number in range(20)])

    def test_a_batch_is_many_messages(self):
        queue = self.queue()
        with self.client.get_queue_sender(queue) as sender:
            batch = sender.create_message_batch()
            self.assertEqual(batch.max_size_in_bytes, 262144)
            for number in range(100):
                batch.add_message(ServiceBusMessage(str(number)))
            sender.send_messages(batch)
        receiver = self.receiver(queue, prefetch_count=100)
        got = []
        while len(got) < 100:
            got += receiver.receive_messages(100, max_wait_time=5)
        self.assertEqual([m.sequence_number for m in got], list(range(1, 101)))

    def test_a_large_message_goes_through_whole(self):
        queue = self.queue()
        body = bytes(range(256)) * 800
        self.send(queue, ServiceBusMessage(body))
        self.assertEqual(b"".join(self.one(self.receiver(queue)).body), body)

    def test_a_message_that_is_too_large_is_refused(self):
        queue = self.queue()
        with self.client.get_queue_sender(queue) as sender:
            # The link is detached with message-size-exceeded, which the SDK does not pass on as that.
            with self.assertRaises(exceptions.ServiceBusError):
                sender.send_messages(ServiceBusMessage(b"x" * 300_000))

    def test_a_missing_entity_is_told(self):
        client = self.connect(retry_total=0)
        with self.assertRaises(exceptions.MessagingEntityNotFoundError):
            self.send(name("none"), "x", client=client)

    def test_repetitions_are_dropped(self):
        window = timedelta(minutes=1)
        queue = self.queue(requires_duplicate_detection=True, duplicate_detection_history_time_window=window)
        for body in ["first", "again"]:
            self.send(queue, ServiceBusMessage(body, message_id="same"))
        receiver = self.receiver(queue)
        self.assertEqual(str(self.one(receiver)), "first")
        self.none(receiver)

    def test_a_scheduled_message_comes_at_its_time(self):
        queue = self.queue()
        receiver = self.receiver(queue)
        at = datetime.datetime.now(timezone.utc) + timedelta(seconds=2)
        with self.client.get_queue_sender(queue) as sender:
            sender.schedule_messages(ServiceBusMessage("scheduled"), at)
            (late,) = sender.schedule_messages(ServiceBusMessage("never"), at)
            sender.cancel_scheduled_messages(late)
        peeked = receiver.peek_messages(10)
        self.assertEqual([m.state for m in peeked], [ServiceBusMessageState.SCHEDULED])
        self.none(receiver)
        self.assertEqual(str(self.one(receiver)), "scheduled")
        self.assertGreaterEqual(datetime.datetime.now(timezone.utc), at - timedelta(milliseconds=50))
        self.none(receiver)


class Settling(SdkCase):
    def test_an_abandoned_message_comes_again_until_it_is_dead_lettered(self):
        queue = self.queue(max_delivery_count=3)
        self.send(queue, "stubborn")
        receiver = self.receiver(queue)
        for count in range(3):
            message = self.one(receiver)
            self.assertEqual(message.delivery_count, count)
            receiver.abandon_message(message)
        self.none(receiver)
        dead = self.one(self.dead_letters(queue))
        self.assertEqual((str(dead), dead.dead_letter_reason), ("stubborn", "MaxDeliveryCountExceeded"))

    def test_a_deferred_message_is_received_by_its_number(self):
        queue = self.queue()
        self.send(queue, "later", "other")
        receiver = self.receiver(queue)
        message = self.one(receiver)
        receiver.defer_message(message)
        other = self.one(receiver)
        self.assertEqual(str(other), "other")
        receiver.complete_message(other)
        self.none(receiver)
        (deferred,) = receiver.receive_deferred_messages(message.sequence_number)
        self.assertEqual((str(deferred), deferred.state), ("later", ServiceBusMessageState.DEFERRED))
        receiver.complete_message(deferred)
        with self.assertRaises(exceptions.ServiceBusError):
            receiver.receive_deferred_messages(message.sequence_number)

    def test_a_dead_lettered_message_says_why(self):
        queue = self.queue()
        self.send(queue, "bad")
        receiver = self.receiver(queue)
        receiver.dead_letter_message(self.one(receiver), reason="reason", error_description="description")
        dead = self.dead_letters(queue)
        message = self.one(dead)
        self.assertEqual(
            (message.dead_letter_reason, message.dead_letter_error_description), ("reason", "description")
        )
        dead.complete_message(message)
        self.none(dead)

    def test_receive_and_delete_keeps_nothing(self):
        queue = self.queue()
        self.send(queue, "gone")
        receiver = self.receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        self.assertEqual(str(self.one(receiver)), "gone")
        self.assertEqual(self.admin.get_queue_runtime_properties(queue).total_message_count, 0)

    def test_a_lock_ends_and_the_message_comes_again(self):
        queue = self.queue(lock_duration=timedelta(seconds=1))
        self.send(queue, "slow")
        receiver = self.receiver(queue)
        first = self.one(receiver)
        second = self.one(receiver)
        self.assertEqual((first.delivery_count, second.delivery_count), (0, 1))
        with self.assertRaises(exceptions.MessageLockLostError):
            receiver.complete_message(first)
        receiver.complete_message(second)

    def test_the_server_refuses_a_lost_lock(self):
        queue = self.queue()
        self.send(queue, "lost")
        receiver = self.receiver(queue)
        message = self.one(receiver)
        fault("expire-locks", entity=queue)
        with self.assertRaises(exceptions.MessageLockLostError):
            receiver.complete_message(message)
        with self.assertRaises(exceptions.MessageLockLostError):
            receiver.renew_message_lock(message)

    def test_a_renewed_lock_holds(self):
        queue = self.queue(lock_duration=timedelta(seconds=2))
        self.send(queue, "renewed")
        receiver = self.receiver(queue)
        message = self.one(receiver)
        first_end = message.locked_until_utc
        while datetime.datetime.now(timezone.utc) <= first_end:
            receiver.renew_message_lock(message)
            time.sleep(0.2)
        self.assertGreater(message.locked_until_utc, first_end)
        receiver.complete_message(message)

    def test_a_lock_outlives_its_link(self):
        queue = self.queue()
        self.send(queue, "locked")
        receiver = self.opened(self.client.get_queue_receiver(queue))
        self.one(receiver)
        receiver.close()
        self.none(self.receiver(queue))

    def test_peek_takes_nothing(self):
        queue = self.queue()
        self.send(queue, "1", "2", "3")
        receiver = self.receiver(queue)
        self.assertEqual([str(m) for m in receiver.peek_messages(2)], ["1", "2"])
        self.assertEqual([str(m) for m in receiver.peek_messages(9, sequence_number=2)], ["2", "3"])
        self.assertEqual(str(self.one(receiver)), "1")

    def test_messages_expire(self):
        queue = self.queue(dead_lettering_on_message_expiration=True)
        self.send(queue, ServiceBusMessage("old", time_to_live=timedelta(milliseconds=200)))
        dead = self.one(self.dead_letters(queue))
        self.assertEqual((str(dead), dead.dead_letter_reason), ("old", "TTLExpiredException"))
        short = self.queue(default_message_time_to_live=timedelta(milliseconds=200))
        self.send(short, "old")
        runtime = lambda: self.admin.get_queue_runtime_properties(short).total_message_count == 0
        eventually(runtime)


class Topics(SdkCase):
    def publish(self, topic, *messages):
        with self.client.get_topic_sender(topic) as sender:
            sender.send_messages(list(messages))

    def drain(self, topic, subscription):
        receiver = self.client.get_subscription_receiver(
            topic, subscription, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE
        )
        with receiver:
            got = []
            while batch := receiver.receive_messages(50, max_wait_time=0.5):
                got += batch
        return got

    def test_every_subscription_gets_every_message(self):
        topic = self.topic("a", "b")
        self.publish(topic, ServiceBusMessage("1"), ServiceBusMessage("2"))
        self.admin.create_subscription(topic, "late")
        self.publish(topic, ServiceBusMessage("3"))
        for subscription in ["a", "b"]:
            self.assertEqual([str(m) for m in self.drain(topic, subscription)], ["1", "2", "3"])
        (late,) = self.drain(topic, "late")
        self.assertEqual((late.sequence_number, late.enqueued_sequence_number), (1, 3))

    def test_rules_route(self):
        topic = self.topic("sql", "correlation", "nothing")
        for subscription in ["sql", "correlation", "nothing"]:
            self.admin.delete_rule(topic, subscription, "$Default")
        self.admin.create_rule(topic, "sql", "r", filter=SqlRuleFilter("color = 'red' AND size > 2"))
        filter = CorrelationRuleFilter(label="news", properties={"color": "blue"})
        self.admin.create_rule(topic, "correlation", "r", filter=filter)
        messages = [
            ServiceBusMessage("1", application_properties={"color": "red", "size": 3}),
            ServiceBusMessage("2", application_properties={"color": "red", "size": 1}),
            ServiceBusMessage("3", subject="news", application_properties={"color": "blue"}),
        ]
        self.publish(topic, *messages)
        self.assertEqual([str(m) for m in self.drain(topic, "sql")], ["1"])
        self.assertEqual([str(m) for m in self.drain(topic, "correlation")], ["3"])
        self.assertEqual(self.drain(topic, "nothing"), [])
        rule = self.admin.get_rule(topic, "sql", "r")
        self.assertEqual(rule.filter.sql_expression, "color = 'red' AND size > 2")
        (rule,) = self.admin.list_rules(topic, "correlation")
        self.assertEqual((rule.filter.label, rule.filter.properties), ("news", {"color": "blue"}))

    def test_a_scheduled_message_of_a_topic(self):
        topic = self.topic("a")
        at = datetime.datetime.now(timezone.utc) + timedelta(seconds=3)
        self.publish(topic, ServiceBusMessage("later", scheduled_enqueue_time_utc=at))
        self.assertEqual(self.drain(topic, "a"), [])
        receiver = self.client.get_subscription_receiver(topic, "a")
        with receiver:
            self.assertEqual(str(self.one(receiver)), "later")


class Managing(SdkCase):
    def test_entities_are_created_changed_listed_and_deleted(self):
        queue = self.queue(lock_duration=timedelta(seconds=30), max_delivery_count=5)
        found = self.admin.get_queue(queue)
        self.assertEqual((found.name, found.lock_duration, found.max_delivery_count), (queue, timedelta(seconds=30), 5))
        found.max_delivery_count = 7
        self.admin.update_queue(found)
        self.assertEqual(self.admin.get_queue(queue).max_delivery_count, 7)
        with self.assertRaises(ResourceExistsError):
            self.admin.create_queue(queue.upper())
        topic = self.topic("a", "b")
        self.assertIn(queue, [q.name for q in self.admin.list_queues()])
        self.assertIn(topic, [t.name for t in self.admin.list_topics()])
        self.assertEqual([s.name for s in self.admin.list_subscriptions(topic)], ["a", "b"])
        self.assertEqual(self.admin.get_topic_runtime_properties(topic).subscription_count, 2)
        self.admin.delete_subscription(topic, "a")
        self.admin.delete_topic(topic)
        with self.assertRaises(ResourceNotFoundError):
            self.admin.get_subscription(topic, "b")
        self.admin.delete_queue(queue)
        with self.assertRaises(ResourceNotFoundError):
            self.admin.get_queue(queue)

    def test_messages_are_counted(self):
        queue = self.queue()
        self.send(queue, "1", "2")
        receiver = self.receiver(queue)
        receiver.dead_letter_message(self.one(receiver))
        runtime = self.admin.get_queue_runtime_properties(queue)
        self.assertEqual((runtime.active_message_count, runtime.dead_letter_message_count), (1, 1))

    def test_an_idle_entity_is_deleted(self):
        topic = self.topic()
        self.admin.create_subscription(topic, "idle", auto_delete_on_idle=timedelta(seconds=1))
        gone = lambda: not list(self.admin.list_subscriptions(topic))
        eventually(gone)

    def test_receivers_of_a_deleted_entity_are_told(self):
        queue = self.queue()
        receiver = self.opened(self.connect(retry_total=0).get_queue_receiver(queue))
        self.assertEqual(receiver.receive_messages(1, max_wait_time=0.2), [])
        self.admin.delete_queue(queue)
        with self.assertRaises(exceptions.MessagingEntityNotFoundError):
            for _ in range(20):
                receiver.receive_messages(1, max_wait_time=0.5)

    def test_a_wrong_key_is_refused(self):
        wrong = CONNECTION_STRING.replace("SharedAccessKey=", "SharedAccessKey=wrong")
        queue = self.queue()
        with self.assertRaises(exceptions.ServiceBusAuthenticationError):
            self.send(queue, "x", client=self.connect(wrong, retry_total=0))
        with self.assertRaises(ClientAuthenticationError):
            administration(wrong).get_queue(queue)

    def test_an_expired_token_ends_the_link(self):
        queue = self.queue()
        client = self.connect(retry_total=0)
        receiver = self.opened(client.get_queue_receiver(queue))
        self.assertEqual(receiver.receive_messages(1, max_wait_time=0.2), [])
        fault("expire-tokens")
        with self.assertRaises(exceptions.ServiceBusError):
            for _ in range(20):
                receiver.receive_messages(1, max_wait_time=0.5)


class Faults(SdkCase):
    def test_a_receiver_survives_detached_links_and_dropped_connections(self):
        queue = self.queue()
        client = self.connect(retry_backoff_factor=0.1)
        receiver = self.opened(client.get_queue_receiver(queue, max_wait_time=10))
        strikes = [
            lambda: fault("detach", entity=queue, closed="true"),
            lambda: fault("detach", entity=queue, closed="false"),
            lambda: fault("drop"),
        ]
        for number, strike in enumerate(strikes):
            self.assertEqual(receiver.receive_messages(1, max_wait_time=0.2), [])
            strike()
            eventually(lambda: self.sent(queue, str(number)))
            message = self.one(receiver)
            self.assertEqual(str(message), str(number))
            receiver.complete_message(message)

    def sent(self, queue, body):
        try:
            self.send(queue, body, client=self.connect(retry_backoff_factor=0.1))
            return True
        except exceptions.ServiceBusError:
            return False

    def test_a_busy_server_says_so(self):
        queue = self.queue()
        client = self.connect(retry_total=0)
        with client.get_queue_sender(queue) as sender:
            sender.send_messages(ServiceBusMessage("before"))
            fault("busy", **{"for": "1h"})
            with self.assertRaises(exceptions.ServiceBusServerBusyError):
                sender.send_messages(ServiceBusMessage("refused"))
            fault("busy", **{"for": "0ms"})
            sender.send_messages(ServiceBusMessage("after"))
        receiver = self.receiver(queue, prefetch_count=10)
        self.assertEqual([str(self.one(receiver)) for _ in range(2)], ["before", "after"])

    def test_too_many_operations_are_throttled(self):
        queue = self.queue()
        with self.connect(retry_total=0).get_queue_sender(queue) as sender:
            fault("credits", per_second=5)
            with self.assertRaises(exceptions.ServiceBusServerBusyError):
                for _ in range(100):
                    sender.send_messages(ServiceBusMessage("x"))

    def test_a_stopped_server_answers_when_it_goes_on(self):
        queue = self.queue()
        sent = threading.Event()

        def send():
            self.send(queue, "patient")
            sent.set()

        fault("stop")
        sending = threading.Thread(target=send)
        try:
            sending.start()
            self.assertFalse(sent.wait(1))
        finally:
            fault("continue")
        self.assertTrue(sent.wait(30))
        sending.join()
        self.assertEqual(str(self.one(self.receiver(queue))), "patient")

    def test_an_unanswered_message_is_there_all_the_same(self):
        queue = self.queue()
        client = self.connect(retry_total=0)
        with client.get_queue_sender(queue) as sender:
            sender.send_messages(ServiceBusMessage("first"))
            fault("unanswered", messages=1)
            with self.assertRaises(exceptions.ServiceBusError):
                sender.send_messages(ServiceBusMessage("unanswered"))
        bodies = [str(m) for m in self.receiver(queue).peek_messages(10)]
        self.assertEqual(bodies, ["first", "unanswered"])


if __name__ == "__main__":
    unittest.main()
