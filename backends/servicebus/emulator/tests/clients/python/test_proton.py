"""The emulator as Qpid Proton sees it: an AMQP client that knows nothing of Service Bus."""

import time
import unittest
from datetime import timedelta

from proton import ConnectionException, Disposition, Message, symbol, timestamp
from proton.reactor import LinkOption
from proton.utils import BlockingConnection, LinkDetached, SendException

from support import ADDRESS, CONNECTION_STRING, Case, fault, name

POLICY, KEY = "RootManageSharedAccessKey", CONNECTION_STRING.split("SharedAccessKey=")[1].split(";")[0]


class SettledByReceiver(LinkOption):
    """The client settles nothing before the broker has."""

    def apply(self, link):
        link.snd_settle_mode = link.SND_UNSETTLED
        link.rcv_settle_mode = link.RCV_SECOND


class ReceiveAndDelete(LinkOption):
    def apply(self, link):
        link.snd_settle_mode = link.SND_SETTLED


class ProtonCase(Case):
    def setUp(self):
        super().setUp()
        self.connection = self.connect()

    def connect(self, key=KEY, **settings):
        connection = BlockingConnection(
            f"amqp://{ADDRESS}",
            timeout=20,
            user=POLICY,
            password=key,
            allowed_mechs="PLAIN",
            allow_insecure_mechs=True,
            **settings,
        )
        self.addCleanup(connection.close)
        return connection

    def send(self, address, *messages):
        sender = self.connection.create_sender(address)
        for message in messages:
            sender.send(message if isinstance(message, Message) else Message(body=message))
        sender.close()

    def receiver(self, address, credit=1, options=None):
        return self.connection.create_receiver(address, credit=credit, options=options)

    def nothing_at(self, address):
        runtime = self.admin.get_queue_runtime_properties(address)
        self.assertEqual(runtime.active_message_count, 0)


class Messages(ProtonCase):
    def test_what_is_sent_is_received(self):
        queue = self.queue()
        bodies = ["text", b"bytes", 5, {"map": [1, 2.5, None, True]}]
        self.send(queue, *bodies)
        receiver = self.receiver(queue, credit=4)
        for number, body in enumerate(bodies, 1):
            message = receiver.receive()
            self.assertEqual(message.body, body)
            self.assertEqual(message.annotations[symbol("x-opt-sequence-number")], number)
            self.assertEqual(message.delivery_count, 0)
            receiver.accept()
        receiver.close()
        self.nothing_at(queue)

    def test_properties_go_through(self):
        queue = self.queue()
        sent = Message(
            id="id", subject="subject", correlation_id=7, reply_to="reply", content_type="text/plain",
            properties={"text": "ä", "int": 3}, body="body", durable=True, ttl=60.0, priority=7,
        )
        sent.annotations = {symbol("x-own"): "kept"}
        self.send(queue, sent)
        receiver = self.receiver(queue)
        got = receiver.receive()
        self.assertEqual(
            (got.id, got.subject, got.correlation_id, got.reply_to, got.content_type, got.properties),
            ("id", "subject", 7, "reply", "text/plain", {"text": "ä", "int": 3}),
        )
        self.assertEqual((got.durable, got.ttl, got.priority), (True, 60.0, 7))
        self.assertEqual(got.annotations[symbol("x-own")], "kept")
        receiver.accept()

    def test_a_large_message_goes_through_whole(self):
        queue = self.queue()
        body = bytes(range(256)) * 900
        self.send(queue, body)
        # The body is a view into the message, which must live as long.
        message = self.receiver(queue).receive()
        self.assertEqual(bytes(message.body), body)

    def test_a_message_that_is_too_large_ends_the_link(self):
        queue = self.queue()
        with self.assertRaises(LinkDetached) as raised:
            self.send(queue, b"x" * 300_000)
        self.assertEqual(raised.exception.condition, "amqp:link:message-size-exceeded")

    def test_a_topic_copies(self):
        topic = self.topic("a", "b")
        self.send(topic, "copied")
        for subscription in ["a", "b"]:
            receiver = self.receiver(f"{topic}/Subscriptions/{subscription}")
            message = receiver.receive()
            self.assertEqual(message.body, "copied")
            self.assertEqual(message.annotations[symbol("x-opt-enqueue-sequence-number")], 1)
            receiver.accept()

    def test_a_scheduled_message_waits(self):
        queue = self.queue()
        message = Message(body="later")
        at = time.time() + 1
        message.annotations = {symbol("x-opt-scheduled-enqueue-time"): timestamp(int(at * 1000))}
        self.send(queue, message)
        self.assertEqual(self.receiver(queue).receive().body, "later")
        self.assertGreaterEqual(time.time(), at - 0.05)

    def test_a_message_expires(self):
        queue = self.queue(dead_lettering_on_message_expiration=True)
        self.send(queue, Message(body="old", ttl=0.2))
        message = self.receiver(f"{queue}/$DeadLetterQueue").receive()
        self.assertEqual(message.properties["DeadLetterReason"], "TTLExpiredException")


class Settling(ProtonCase):
    def test_modified_and_released_bring_a_message_back(self):
        queue = self.queue()
        self.send(queue, "again")
        receiver = self.receiver(queue, options=SettledByReceiver())
        counts = []
        for delivered in [True, False, None]:
            counts.append(receiver.receive().delivery_count)
            if delivered is None:
                receiver.accept()
            else:
                receiver.release(delivered=delivered)
        # Released without having been delivered: it does not count.
        self.assertEqual(counts, [0, 1, 1])

    def test_a_rejected_message_is_dead_lettered(self):
        queue = self.queue()
        self.send(queue, "bad")
        receiver = self.receiver(queue, options=SettledByReceiver())
        receiver.receive()
        receiver.reject()
        dead = self.receiver(f"{queue}/$DeadLetterQueue")
        self.assertEqual(dead.receive().body, "bad")
        dead.accept()
        self.nothing_at(queue)

    def test_an_undeliverable_message_is_deferred(self):
        queue = self.queue()
        self.send(queue, "deferred")
        receiver = self.receiver(queue, options=SettledByReceiver())
        receiver.receive()
        delivery = receiver.fetcher.unsettled.popleft()
        delivery.local.failed = True
        delivery.local.undeliverable = True
        delivery.update(Disposition.MODIFIED)
        delivery.settle()
        self.connection.wait(lambda: True)
        receiver.close()
        with self.service() as client:
            with client.get_queue_receiver(queue) as sdk:
                (message,) = sdk.receive_deferred_messages(1)
                self.assertEqual(message.sequence_number, 1)

    def service(self):
        from azure.servicebus import ServiceBusClient

        return ServiceBusClient.from_connection_string(CONNECTION_STRING)

    def test_receive_and_delete_keeps_nothing(self):
        queue = self.queue()
        self.send(queue, "gone")
        self.assertEqual(self.receiver(queue, options=ReceiveAndDelete()).receive().body, "gone")
        self.nothing_at(queue)

    def test_a_lock_ends_and_the_message_comes_again(self):
        queue = self.queue(lock_duration=timedelta(seconds=1), max_delivery_count=2)
        self.send(queue, "slow")
        receiver = self.receiver(queue, credit=2)
        self.assertEqual([receiver.receive().delivery_count for _ in range(2)], [0, 1])
        dead = self.receiver(f"{queue}/$DeadLetterQueue").receive()
        self.assertEqual(dead.properties["DeadLetterReason"], "MaxDeliveryCountExceeded")

    def test_a_lock_outlives_its_link(self):
        queue = self.queue()
        self.send(queue, "locked", "free")
        first = self.receiver(queue)
        self.assertEqual(first.receive().body, "locked")
        first.close()
        self.assertEqual(self.receiver(queue).receive().body, "free")


class Refusals(ProtonCase):
    def test_a_missing_entity_is_told(self):
        for create in [self.connection.create_sender, self.connection.create_receiver]:
            with self.assertRaises(LinkDetached) as raised:
                create(name("none"))
            self.assertEqual(raised.exception.condition, "amqp:not-found")

    def test_a_wrong_key_is_refused(self):
        with self.assertRaises(ConnectionException):
            self.connect(key="wrong")

    def test_nobody_may_do_anything_without_a_token(self):
        queue = self.queue()
        anonymous = BlockingConnection(f"amqp://{ADDRESS}", timeout=20, allowed_mechs="ANONYMOUS")
        self.addCleanup(anonymous.close)
        with self.assertRaises(LinkDetached) as raised:
            anonymous.create_sender(queue)
        self.assertEqual(raised.exception.condition, "amqp:unauthorized-access")

    def test_a_detached_link_is_told(self):
        queue = self.queue()
        receiver = self.receiver(queue)
        fault("detach", entity=queue)
        with self.assertRaises(LinkDetached) as raised:
            receiver.receive()
        self.assertEqual(raised.exception.condition, "amqp:link:detach-forced")

    def test_a_busy_server_rejects(self):
        queue = self.queue()
        sender = self.connection.create_sender(queue)
        fault("busy", **{"for": "1h"})
        with self.assertRaises(SendException):
            sender.send(Message(body="refused"))
        fault("busy", **{"for": "0ms"})
        sender.send(Message(body="taken"))
        self.assertEqual(self.receiver(queue).receive().body, "taken")


if __name__ == "__main__":
    unittest.main()
