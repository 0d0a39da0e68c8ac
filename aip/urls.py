from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.permissions import AllowAny

from aip.health import HealthCheck

# What the API looks like is no secret; it names no data.
PUBLIC: dict[str, Any] = {
    "authentication_classes": [],
    "permission_classes": [AllowAny],
    "http_method_names": ["get", "head"],
}

urlpatterns = [
    path("", include("hitl.api.urls")),  # before agents: /agents/hitl/... looks like /agents/{id}/...
    path("", include("agents.api.urls")),
    re_path(r"^health-check/?$", HealthCheck.as_view()),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(**PUBLIC), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerView.as_view(**PUBLIC)),
    path("admin/", include("hitl.console.urls")),
    path("admin/", admin.site.urls),
    path("admin", RedirectView.as_view(pattern_name="landing")),  # for people, who type addresses
]

handler400 = "aip.core.errors.bad_request"
handler404 = "aip.core.errors.not_found"
handler500 = "aip.core.errors.server_error"
