"""What every page of the admin is made of: it only shows, and what it shows is harmless."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import F, Func, Model, Q, QuerySet, TextField
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from aip.core.text import visible

LIST_CHARACTERS = 100
# What a page shows of one text; a browser still scrolls this.
TEXT_CHARACTERS = 1_000_000
# A filter offers what the newest rows have: all of a long table would be read at every look.
RECENT_ROWS = 1000
INDENT = re.compile("^ +", re.MULTILINE)
HEX_START = re.compile("[0-9a-f]{4,32}")


def cut(text: object, characters: int = LIST_CHARACTERS) -> SafeString:
    """One line, not too long; it cannot change the direction of what stands beside it."""
    line = " ".join(visible(str(text)).split())
    return format_html("<bdi>{}</bdi>", line if len(line) <= characters else f"{line[: characters - 1]}…")


def block(text: str, characters: int = TEXT_CHARACTERS) -> SafeString:
    """A text as it is, with a note where it is cut."""
    note = f"Cut: the first {characters:,} characters." if len(text) > characters else ""
    return format_html(
        '<pre class="aip-text" tabindex="0">{}</pre>{}', visible(text[:characters]), format_html("<p>{}</p>", note)
    )


def narrow(text: str) -> str:
    """With half the indentation that `pretty` gives: a phone is narrow."""
    return INDENT.sub(lambda found: found[0][::2], text)


def json_block(text: str, characters: int = TEXT_CHARACTERS) -> SafeString:
    """What `pretty` read."""
    return block(narrow(text), characters)


def pretty(field: str, characters: int = TEXT_CHARACTERS) -> Left:
    """A JSON field as PostgreSQL spells it, and no more of it than is shown (and one, to know that it is cut)."""
    return Left(Func(F(field), function="jsonb_pretty", output_field=TextField()), characters + 1)


def read_texts(obj: Model, **texts: str | Left) -> dict[str, str]:
    """Long texts of one row, cut in the database."""
    expressions = {
        f"{name}_": Left(text, TEXT_CHARACTERS + 1) if isinstance(text, str) else text for name, text in texts.items()
    }
    row = type(obj)._default_manager.filter(pk=obj.pk).values(**expressions).get()
    return {name: row[f"{name}_"] or "" for name in texts}


def when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "-"


def badge(text: str, colours: dict[str, str]) -> SafeString:
    """A status in unfold's colours: info, success, warning, danger."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colours.get(text)})


def link(page: str, pk: object, text: object) -> SafeString:
    """A link to a row's page, or the text alone where the server has no such page."""
    try:
        url = reverse(f"admin:{page}_change", args=[pk])
    except NoReverseMatch:
        return cut(text)
    return format_html('<a class="text-link" href="{}">{}</a>', url, cut(text))


def list_link(page: str, text: str, **filters: object) -> SafeString:
    """A link to a list, filtered."""
    url = reverse(f"admin:{page}_changelist", query=filters)
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)


def table(headings: list[str], rows: Any) -> SafeString:
    """Cells that are safe already or are escaped here."""
    lines = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((c,) for c in r)),) for r in rows)
    )
    head = format_html_join("", '<th scope="col">{}</th>', ((heading,) for heading in headings))
    return format_html('<table class="aip-rows"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', head, lines)


def has_id(text: str, field: str = "pk") -> Q:
    """Rows whose id begins with `text`, by the index of the id; none if no id begins like that."""
    digits = text.replace("-", "").lower()
    if not HEX_START.fullmatch(digits):
        return Q(pk__in=[])
    return Q(**{f"{field}__range": (UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f")))})


def column(title: str, show: Callable[[Any], object], *, ordering: str | None = None) -> Callable[[Any, Any], object]:
    """A column of a list, or a field of a page: what `show` makes of the row."""

    @admin.display(description=title, ordering=ordering)
    def shown(_admin: Any, row: Any) -> object:
        return show(row)

    return shown


@dataclass(frozen=True)
class Panel:
    """A part of a page below its fields."""

    title: str
    body: SafeString
    is_open: bool = True


def refuse_nul(request: HttpRequest) -> None:
    """PostgreSQL would. A search drops it. Raises BadRequest."""
    if any("\0" in value for name, value in request.GET.items() if name != "q"):
        raise BadRequest("A filter holds a NUL character.")


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Shows rows to those who may view them. Nobody adds, changes or deletes here: verbs do."""

    change_form_template = "admin/read_only.html"
    actions = None
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        refuse_nul(request)
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def panels(self, request: HttpRequest, obj: Any) -> Iterator[Panel]:
        yield from ()

    def found(self, term: str) -> Q:
        """What a search looks for."""
        return has_id(term)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = term.strip().replace("\0", "")
        return (queryset.filter(self.found(term)) if term else queryset), False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        context |= {"panels": list(self.panels(request, obj)), "subtitle": visible(str(obj)), "show_history": False}
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        return response


class LongTableAdmin(ReadOnlyAdmin):
    """For tables that only grow: its rows are never counted."""

    paginator = InfinitePaginator


class RecentFilter(admin.SimpleListFilter):
    """Filters by a column; offers the values of the newest rows. `label` is the column that names a value."""

    label = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = model_admin.model.objects.order_by("-created_at")[:RECENT_ROWS]
        pairs = set(newest.values_list(self.parameter_name, self.label or self.parameter_name))
        return sorted(((str(value), cut(name, 40)) for value, name in pairs if value), key=lambda pair: pair[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        try:
            return queryset.filter(**{str(self.parameter_name): self.value()})
        except (ValueError, ValidationError) as e:
            raise admin.options.IncorrectLookupParameters(e) from e
