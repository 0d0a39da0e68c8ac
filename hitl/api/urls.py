from django.urls import re_path

from hitl.api import views

urlpatterns = [
    re_path(r"^agents/hitl/pending/?$", views.Pending.as_view(), name="pending"),
    re_path(r"^agents/hitl/decision/?$", views.Decide.as_view(), name="decision"),
    re_path(r"^agents/hitl/requests/(?P<request_id>[^/]+)/extend/?$", views.Extend.as_view(), name="extend"),
]
