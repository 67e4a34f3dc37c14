"""What the tests of both Python clients share: the emulator's address, faults, and management over plain HTTP."""

import os
import time
import unittest
import urllib.error
import urllib.request
import uuid

from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus.management import ServiceBusAdministrationClient

CONNECTION_STRING = os.environ["SERVICEBUS_CONNECTION_STRING"]
ADDRESS = os.environ["SERVICEBUS_ADDRESS"]


class PlainTransport(RequestsTransport):
    """The management client knows only HTTPS; the emulator has no certificate."""

    def send(self, request, **kwargs):
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **kwargs)


def administration(connection_string=CONNECTION_STRING):
    return ServiceBusAdministrationClient.from_connection_string(
        connection_string, transport=PlainTransport(), retry_total=0
    )


def fault(name, **parameters):
    """Makes the emulator have a fault, and returns what it says."""
    query = "&".join(f"{key.replace('_', '-')}={value}" for key, value in parameters.items())
    url = f"http://{ADDRESS}/$emulator/faults/{name}?{query}"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
        return answer.read().decode()


def name(prefix):
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def eventually(what, seconds=20):
    """What this returns once it is true."""
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        time.sleep(0.02)


class Case(unittest.TestCase):
    """A test with a management client, whose faults end with it."""

    def setUp(self):
        self.admin = administration()
        self.addCleanup(self.admin.close)

    def tearDown(self):
        fault("credits", per_second="off")
        fault("busy", **{"for": "0ms"})

    def queue(self, **settings):
        queue = name("queue")
        self.admin.create_queue(queue, **settings)
        return queue

    def topic(self, *subscriptions, **settings):
        topic = name("topic")
        self.admin.create_topic(topic, **settings)
        for subscription in subscriptions:
            self.admin.create_subscription(topic, subscription)
        return topic
