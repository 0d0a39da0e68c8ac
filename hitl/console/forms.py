"""The forms of the console: a decision, a decision about many requests, an extension."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator

from aip.core.jsonb import storable
from hitl.approvals import DECIDABLE
from hitl.decision_rules import MAX_ANSWER, MAX_NOTE, SEAL_PATTERN

# Offered beside the operator's own words, which say the rest.
REASONS = [
    "Not needed.",
    "Wrong recipient or target.",
    "Wrong content or values.",
    "Too risky.",
    "Ask again and say why.",
]
MORE_TIME = [(300, "5 minutes"), (3600, "1 hour"), (86400, "1 day")]
CHOICES = [(reason, reason) for reason in REASONS]


class DecisionForm(forms.Form):
    """`seal` is that of the call that was on the screen. `edited`: the fields of the arguments came with it.

    `stop_run`: a rejection ends the run.
    """

    decision = forms.ChoiceField(choices=[(decision.value, decision.label) for decision in DECIDABLE])
    note = forms.CharField(required=False, max_length=MAX_NOTE, strip=True)
    answer = forms.CharField(required=False, max_length=MAX_ANSWER, strip=False)
    seal = forms.CharField(required=False, validators=[RegexValidator(SEAL_PATTERN, "This is not a seal.")])
    edited = forms.BooleanField(required=False)
    stop_run = forms.BooleanField(required=False)

    def clean_note(self) -> str:
        return str(storable(self.cleaned_data["note"]))


class ConsoleForm(DecisionForm):
    reason = forms.ChoiceField(required=False, choices=CHOICES)
    sure = forms.BooleanField(required=False)

    @property
    def full_note(self) -> str:
        """The reason and the note, as the agent receives them."""
        return " ".join(filter(None, (self.cleaned_data["reason"], self.cleaned_data["note"])))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not cleaned.get("seal") and not self.errors:
            raise forms.ValidationError("It does not say which call was on the screen. Open the request again.")
        return cleaned


class BulkForm(forms.Form):
    """One decision about each of many; `pick` names a request and the seal that was on the screen with it."""

    decision = forms.ChoiceField(choices=[(decision.value, decision.label) for decision in DECIDABLE])
    note = forms.CharField(required=False, max_length=MAX_NOTE, strip=True)

    clean_note = DecisionForm.clean_note


class ExtensionForm(forms.Form):
    seconds = forms.IntegerField(min_value=1, max_value=settings.HITL_MAX_TIMEOUT_SECONDS)


def problems(form: forms.Form) -> str:
    """What is wrong with what was sent, in one line."""
    return " ".join(f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items())
