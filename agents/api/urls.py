"""The contract's paths. Either spelling of the last slash is served, neither redirects."""

from django.urls import re_path

from agents.api import agent_views, model_views, run_views, stream_views, tool_views

AGENT = r"^agents/(?P<agent_id>[^/]+)"
RUN = rf"{AGENT}/runs/(?P<run_id>[^/]+)"
TOOL = r"^tools/(?P<tool_id>[^/]+)"
# `aip.asgi` serves these two in front of Django.
RUN_START = rf"{AGENT}/run/?$"
RUN_STREAM = rf"{RUN}/stream/?$"

urlpatterns = [
    re_path(r"^tools/?$", tool_views.ToolList.as_view(), name="tools"),
    re_path(r"^tools/upload/?$", tool_views.ToolUpload.as_view(), name="tool-upload"),
    re_path(rf"{TOOL}/?$", tool_views.ToolDetail.as_view(), name="tool"),
    re_path(rf"{TOOL}/upload/?$", tool_views.ToolUploadAgain.as_view(), name="tool-upload-again"),
    re_path(rf"{TOOL}/script/?$", tool_views.ToolScript.as_view(), name="tool-script"),
    re_path(r"^language-models/?$", model_views.LanguageModelList.as_view(), name="language-models"),
    re_path(r"^mcps/?$", model_views.McpList.as_view(), name="mcps"),
    re_path(r"^agents/?$", agent_views.AgentList.as_view(), name="agents"),
    re_path(rf"{AGENT}/?$", agent_views.AgentDetail.as_view(), name="agent"),
    re_path(rf"{AGENT}/restore/?$", agent_views.AgentRestore.as_view(), name="agent-restore"),
    re_path(rf"{AGENT}/runs/?$", run_views.RunList.as_view(), name="runs"),
    re_path(rf"{RUN}/?$", run_views.RunDetail.as_view(), name="run"),
    re_path(RUN_START, stream_views.RunStart.as_view(), name="run-start"),
    re_path(RUN_STREAM, stream_views.RunStream.as_view(), name="run-stream"),
    re_path(rf"{RUN}/cancel/?$", run_views.RunCancel.as_view(), name="run-cancel"),
    re_path(rf"{RUN}/resume/?$", run_views.RunResume.as_view(), name="run-resume"),
]
