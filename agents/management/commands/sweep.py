"""`manage.py sweep`: the clockwork. Needs PostgreSQL alone, so that it can repair what the queue loses."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError
from kombu.exceptions import OperationalError as BrokerError

from agents import heartbeats, runs
from aip.db import borrowed_connection
from hitl import approvals

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


class Command(BaseCommand):
    help = "Close overdue requests and queue lost runs again, every second. Two of them do no harm."

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        beating = threading.Thread(target=heartbeats.keep_beating, args=("sweep", stopped), name="heartbeat")
        beating.start()
        while not stopped.is_set():
            try:
                with borrowed_connection():
                    approvals.time_out_overdue()
                    heartbeats.forget_the_dead()
                    runs.requeue_lost()
            except DatabaseError as e:
                logger.warning("The sweep waits for the database: %s", type(e).__name__)
            except BrokerError as e:
                logger.warning("The sweep waits for Redis: %s", type(e).__name__)
            stopped.wait(INTERVAL_SECONDS)
        beating.join(timeout=5)
