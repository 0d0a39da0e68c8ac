FROM python:3.11-slim

RUN pip install --no-cache-dir uv \
    && useradd --system --create-home --uid 10001 aip

WORKDIR /app
ENV UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/app/.venv/bin:$PATH

# Packages of model providers, such as "--extra anthropic".
ARG EXTRAS=""
# Before the code, so that a change of the code does not install everything again.
COPY pyproject.toml ./
RUN uv sync ${EXTRAS}

COPY manage.py ./
COPY aip aip
COPY agents agents
COPY hitl hitl
COPY templates templates
COPY examples examples

USER aip
EXPOSE 8000
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "aip.asgi:application"]
