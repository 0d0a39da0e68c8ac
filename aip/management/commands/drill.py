"""`manage.py drill`: kill a server of its own again and again while people decide, and report what that cost."""

import shutil
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from aip.drill.drill import Drill, Plan
from aip.drill.listener import listening
from aip.drill.report import Report
from aip.launcher.private_server import running

SHOWN = 10


class Command(BaseCommand):
    help = (
        "Start runs on a private server, kill its processes and flush Redis at random moments, decide, and report. "
        "Touches no server but its own. Exit status 1 if anything was lost or run twice."
    )
    # It needs nothing of the settings that it is started with.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=1000, help="how many runs (default: %(default)s)")
        parser.add_argument("--seed", type=int, help="of the dice, to repeat a drill")

    def handle(self, *, runs: int, seed: int | None, **_options: Any) -> None:
        if runs < 1:
            raise CommandError("--runs takes a whole number from 1.")
        plan = Plan(runs=runs) if seed is None else Plan(runs=runs, seed=seed)
        try:
            report, kept = self._drill(plan)
        except AssertionError as e:
            raise CommandError(f"The drill came to no end: {e}", returncode=1) from e
        self._print(report, plan)
        if report.broken:
            raise CommandError(f"The promise was broken. The server's log is kept as {kept}.", returncode=1)

    def _drill(self, plan: Plan) -> tuple[Report, str]:
        """The report, and a copy of the server's log if the promise was broken."""
        # A short lease, so that the drill is not mostly waiting.
        with listening() as listener, running(HITL_HOLD_SECONDS="2", AIP_LEASE_SECONDS="5") as server:
            report = self._run(Drill(server, listener, plan, tqdm.write))
            log = server.data_dir.with_suffix(".log")
            return report, shutil.copy(log, f"{log.stem}.log") if report.broken else ""

    def _run(self, drill: Drill) -> Report:
        over = threading.Event()

        def watch() -> None:
            with tqdm(total=drill.plan.runs, unit=" runs", desc="finished", disable=None) as bar:  # none in a file
                while not over.wait(0.5):
                    bar.n = drill.finished()
                    bar.set_postfix(pending=drill.pending())

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            return drill.run()
        finally:
            over.set()
            watching.join(5)

    def _print(self, report: Report, plan: Plan) -> None:
        counts = {
            "started": report.started,
            "finished": report.finished,
            "asked again": report.asked_again,
            "lost": len(report.lost),
            "run twice": len(report.run_twice),
            "against a decision": len(report.against),
        }
        for name, count in counts.items():
            self.stdout.write(f"{name:20}{count:>8}")
        answers = ", ".join(f"{answer}: {number}" for answer, number in sorted(report.answers.items()))
        self.stdout.write(f"what clients were answered, who may have tried again: {answers}; seed {plan.seed}")
        for line in report.broken[:SHOWN]:
            self.stderr.write(line)
