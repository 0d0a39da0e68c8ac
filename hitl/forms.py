"""What an operator sends."""

from django import forms

from hitl.approvals import DECIDABLE
from hitl.seal import storable
from hitl.serializers import MAX_NOTE


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(choices=[(word.value, word.label) for word in DECIDABLE])
    note = forms.CharField(required=False, max_length=MAX_NOTE, strip=True)

    def clean_note(self) -> str:
        return str(storable(self.cleaned_data["note"]))
