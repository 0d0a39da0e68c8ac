from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.permissions import AllowAny

from aip.health import health_check

urlpatterns = [
    path("", include("hitl.urls")),  # before agents: /agents/hitl/... looks like /agents/{id}/...
    path("", include("agents.urls")),
    path("health-check", health_check),
    # What the API looks like is no secret; it names no data.
    path(
        "schema/",
        SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[AllowAny]),
        name="schema",
    ),
    path("docs/", SpectacularSwaggerView.as_view(authentication_classes=[], permission_classes=[AllowAny])),
    path("admin/", admin.site.urls),
]

handler400 = "aip.errors.bad_request"
handler404 = "aip.errors.not_found"
handler500 = "aip.errors.server_error"
