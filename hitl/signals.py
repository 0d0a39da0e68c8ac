"""What this app tells others."""

from django.dispatch import Signal

# A person closed a request; sent after the commit, with `run_id`. Its run may be parked and has to go on.
request_closed = Signal()
