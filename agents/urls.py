"""The contract's paths. Either spelling of the last slash is served, neither redirects."""

from django.urls import re_path

from agents import views

urlpatterns = [
    re_path(r"^tools/?$", views.ToolList.as_view(), name="tools"),
    re_path(r"^tools/upload/?$", views.ToolUpload.as_view(), name="tool-upload"),
    re_path(r"^language-models/?$", views.LanguageModelList.as_view(), name="language-models"),
    re_path(r"^mcps/?$", views.McpList.as_view(), name="mcps"),
    re_path(r"^agents/?$", views.AgentList.as_view(), name="agents"),
    re_path(r"^agents/(?P<agent_id>[^/]+)/?$", views.AgentDetail.as_view(), name="agent"),
    re_path(
        r"^agents/(?P<agent_id>[^/]+)/runs/(?P<run_id>[^/]+)/cancel/?$", views.RunCancel.as_view(), name="run-cancel"
    ),
]
