"""What an operator sends from the console besides a decision: a reason of those that are offered, a second press."""

from typing import Any

from django import forms

from hitl.api.serializers import MAX_NOTE
from hitl.approvals import DECIDABLE
from hitl.console.argument_form import DecisionForm

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


class ConsoleForm(DecisionForm):
    reason = forms.ChoiceField(required=False, choices=CHOICES)
    sure = forms.BooleanField(required=False)

    @property
    def words(self) -> str:
        """The reason and the note, as the agent is told them."""
        return " ".join(filter(None, (self.cleaned_data["reason"], self.cleaned_data["note"])))

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if not given.get("seal") and not self.errors:
            raise forms.ValidationError("It does not say which call was on the screen. Open the request again.")
        return given


class BulkForm(forms.Form):
    """One decision about each of many; `pick` names a request and the seal that was on the screen with it."""

    decision = forms.ChoiceField(choices=[(word.value, word.label) for word in DECIDABLE])
    note = forms.CharField(required=False, max_length=MAX_NOTE, strip=True)

    clean_note = DecisionForm.clean_note
