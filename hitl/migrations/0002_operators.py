from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

PERMISSIONS = ["view_approvalrequest", "decide_approvalrequest"]


def make_group(apps: Any, schema_editor: Any) -> None:
    # Permissions are made after all migrations otherwise, too late for a group that has them.
    config = apps.get_app_config("hitl")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name="operators")
    found = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="hitl", codename__in=PERMISSIONS)
    group.permissions.add(*found)


def drop_group(apps: Any, schema_editor: Any) -> None:
    apps.get_model("auth", "Group").objects.filter(name="operators").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("hitl", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_group, drop_group)]
