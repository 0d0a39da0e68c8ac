"""Users and groups in the admin. Nobody gives, or takes over, more rights than they have."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister([User, Group])


def own_permissions(user: Any) -> QuerySet[Permission]:
    """All that a user may do, which is all that they may give."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(user=user) | Permission.objects.filter(group__user=user)


def own_groups(user: Any) -> QuerySet[Group]:
    """The groups that allow nothing which a user may not do themselves."""
    beyond = Permission.objects.exclude(pk__in=own_permissions(user).values("pk"))
    return Group.objects.exclude(permissions__in=beyond)


def is_within(user: Any, row: Any) -> bool:
    """Whether another user, or a group, has no right that `user` has not."""
    if user.is_superuser:
        return True
    if isinstance(row, Group):
        return own_groups(user).filter(pk=row.pk).exists()
    return not row.is_superuser and row.get_all_permissions() <= user.get_all_permissions()


class GivesOnlyOwnRights:
    """Restricts the choices of groups and permissions, and which rows may be changed, to what the user has."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        may: bool = super().has_change_permission(request, obj)  # type: ignore[misc]
        return may and (obj is None or is_within(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        may: bool = super().has_delete_permission(request, obj)  # type: ignore[misc]
        return may and (obj is None or is_within(request.user, obj))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        user: Any = request.user
        field = super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]
        if not user.is_superuser:
            allowed = own_groups(user) if db_field.related_model is Group else own_permissions(user)
            field.queryset = field.queryset.filter(pk__in=allowed.values("pk"))
        return field


@admin.register(User)
class PeopleAdmin(GivesOnlyOwnRights, UserAdmin, ModelAdmin):  # type: ignore[type-arg, misc]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    filter_horizontal = ()  # the theme's picker is wider than its page

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser")


@admin.register(Group)
class GroupsAdmin(GivesOnlyOwnRights, GroupAdmin, ModelAdmin):  # type: ignore[misc]
    filter_horizontal = ()
