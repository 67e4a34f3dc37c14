"""The messages' REST interface, as a plain HTTP client (requests) sees it."""

import base64
import hashlib
import hmac
import json
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import requests
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from support import ADDRESS, CONNECTION_STRING, Case


def token(resource, seconds=60, key=None, policy="RootManageSharedAccessKey"):
    key = key or CONNECTION_STRING.split("SharedAccessKey=")[1].split(";")[0]
    resource, end = quote(f"http://{ADDRESS}/{resource}", safe=""), int(time.time()) + seconds
    signed = hmac.new(key.encode(), f"{resource}\n{end}".encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(signed), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={end}&skn={policy}"


class Rest(Case):
    def call(self, method, path, expected, authorization=None, **settings):
        headers = {"Authorization": authorization or token(""), **settings.pop("headers", {})}
        url = path if path.startswith("http") else f"http://{ADDRESS}/{path}"
        answer = requests.request(method, url, headers=headers, timeout=20, **settings)
        self.assertEqual(answer.status_code, expected, answer.text)
        return answer

    def test_send_lock_and_complete(self):
        queue = self.queue()
        headers = {
            "BrokerProperties": json.dumps({"MessageId": "id", "Label": "label", "TimeToLive": 60}),
            "Content-Type": "text/plain",
            "color": '"red"',
            "size": "3",
        }
        self.call("POST", f"{queue}/messages", 201, headers=headers, data="body".encode())
        got = self.call("POST", f"{queue}/messages/head?timeout=5", 201)
        self.assertEqual((got.text, got.headers["Content-Type"]), ("body", "text/plain"))
        self.assertEqual((got.headers["color"], got.headers["size"]), ('"red"', "3"))
        properties = json.loads(got.headers["BrokerProperties"])
        self.assertEqual(
            [properties[name] for name in ["MessageId", "Label", "SequenceNumber", "EnqueuedSequenceNumber"]],
            ["id", "label", 1, 1],
        )
        self.assertEqual((properties["DeliveryCount"], properties["State"]), (1, "Active"))
        location = got.headers["Location"]
        self.assertTrue(location.endswith(properties["LockToken"]))
        self.call("POST", location, 200)
        self.call("DELETE", location, 200)
        self.call("DELETE", location, 410)
        self.call("POST", f"{queue}/messages/head?timeout=0", 204)

    def test_unlock_and_receive_and_delete(self):
        queue = self.queue()
        self.call("POST", f"{queue}/messages", 201, data=b"\x00\xff")
        got = self.call("POST", f"{queue}/messages/head", 201)
        self.call("PUT", got.headers["Location"], 200)
        got = self.call("DELETE", f"{queue}/messages/head", 200)
        self.assertEqual(got.content, b"\x00\xff")
        self.assertEqual(json.loads(got.headers["BrokerProperties"])["DeliveryCount"], 2)
        self.call("DELETE", f"{queue}/messages/head?timeout=0", 204)

    def test_a_batch_to_a_topic(self):
        topic = self.topic("a")
        batch = [{"Body": "1", "UserProperties": {"n": 1}}, {"Body": "2", "BrokerProperties": {"Label": "x"}}]
        headers = {"Content-Type": "application/vnd.microsoft.servicebus.json"}
        self.call("POST", f"{topic}/messages", 201, headers=headers, data=json.dumps(batch))
        bodies = [self.call("DELETE", f"{topic}/subscriptions/a/messages/head", 200).text for _ in batch]
        self.assertEqual(bodies, ["1", "2"])

    def test_a_waiting_receiver_is_woken(self):
        queue = self.queue()
        with ServiceBusClient.from_connection_string(CONNECTION_STRING) as client:
            with client.get_queue_sender(queue) as sender:
                started = time.monotonic()
                with ThreadPoolExecutor() as pool:
                    waiting = pool.submit(self.call, "DELETE", f"{queue}/messages/head?timeout=15", 200)
                    time.sleep(0.3)
                    sender.send_messages(ServiceBusMessage("woken"))
                    self.assertEqual(waiting.result().text, "woken")
                self.assertLess(time.monotonic() - started, 10)

    def test_what_is_not_allowed_is_refused(self):
        queue = self.queue()
        path = f"{queue}/messages"
        self.call("POST", path, 401, authorization=token("", key="wrong"))
        self.call("POST", path, 401, authorization=token("", seconds=-1))
        self.call("POST", path, 401, authorization=token("other"))
        self.call("POST", path, 401, authorization="nonsense")
        self.call("POST", path, 201, authorization=token(queue))
        self.call("POST", "none/messages", 404)
        self.call("POST", path, 413, data=b"x" * 300_000)
        self.call("POST", path, 400, headers={"BrokerProperties": "{"})


if __name__ == "__main__":
    unittest.main()
