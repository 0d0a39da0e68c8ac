"""`manage.py doctor`: what is wrong with this server, and `--repair`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agents.runs.doctor import examine


class Command(BaseCommand):
    help = (
        "Compare rows, Redis and queue, and say what is wrong and what would mend it; --repair does so. "
        "Exit status 1 when something is wrong, or still is after the repair."
    )
    # They are among what is looked at.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="mend what can be mended")

    def handle(self, *, repair: bool, **_options: Any) -> None:
        found = list(examine())
        for finding in found:
            self.stdout.write(f"{finding.problem}.")
            if not repair or finding.fix is None:
                self.stdout.write(f"    {'To repair' if finding.fix else 'To be done by hand'}: {finding.remedy}.")
                continue
            finding.fix()
            self.stdout.write(f"    Repaired: {finding.remedy}.")
        if repair and any(finding.fix for finding in found):
            found = list(examine())
            for finding in found:
                self.stdout.write(f"Still: {finding.problem}.")
        if found:
            raise CommandError("Something is wrong." if repair else "Something is wrong; --repair mends what it can.")
        self.stdout.write("Everything fits together.")
