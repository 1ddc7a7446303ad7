"""Where nobody has set OpenTelemetry up, that no span is recorded is said. Each time in a fresh interpreter."""

import pytest

from tests.support.interpreter import run_fresh

BEGIN = """
    import logging, sys
    from fastapi import BackgroundTasks, FastAPI, HTTPException
    from opentelemetry import trace
    import afterword
    from tests.support.asgi import ask

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
    app = FastAPI()

    async def mail() -> None: ...

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)

    @app.get("/refused")
    async def refused(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)
        raise HTTPException(409)
"""
INSTRUMENT = """
    afterword.instrument(app)
"""
VISIT = """
    ask(app, "/docs")
    ask(app, path)
    ask(app, path)
    print("done")
"""
SDK = """
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
"""
SAID = "INFO afterword afterword.traces detail="


def said(code: str, path: str = "/", **environment: str) -> list[str]:
    """Run an application and visit it; return the lines about spans."""
    printed, _ = run_fresh(f"    path = {path!r}\n" + code, **environment)
    assert printed.splitlines()[-1] == "done"
    return [line for line in printed.splitlines() if "afterword.traces" in line]


@pytest.mark.parametrize("path", ["/", "/refused"])
def test_it_is_said_once(path: str):
    """The first task, whether it ran or not, says at info that no span is recorded, and what sets that right."""
    [line] = said(BEGIN + INSTRUMENT + VISIT, path)
    assert line.startswith(SAID)
    assert "afterword.configure()" in line
    assert "opentelemetry-distro" in line


def test_under_a_half_installed_opentelemetry_instrument():
    """Exporters named in the environment are read by nobody where `opentelemetry-distro` is missing."""
    code = (
        BEGIN
        + "    from afterword.instrumentor import BackgroundTaskInstrumentor as Zero\n    Zero().instrument()\n"
    )
    [line] = said(code + VISIT, OTEL_TRACES_EXPORTER="otlp")
    assert line.startswith(SAID)


@pytest.mark.parametrize(
    "code",
    [
        BEGIN + SDK + INSTRUMENT + VISIT,
        BEGIN + INSTRUMENT + SDK + VISIT,
        BEGIN + INSTRUMENT + "    ask(app, '/docs')\n" + SDK + VISIT,
        BEGIN + "    afterword.configure()\n" + INSTRUMENT + VISIT,
        BEGIN + INSTRUMENT + "    afterword.configure()\n" + VISIT,
        BEGIN
        + SDK.replace("trace.set_tracer_provider(TracerProvider())", "mine = TracerProvider()")
        + "    afterword.instrument(app, tracer_provider=mine)\n"
        + VISIT,
        BEGIN + "    trace.set_tracer_provider(trace.NoOpTracerProvider())\n" + INSTRUMENT + VISIT,
        BEGIN + "    afterword.instrument(app, traces=False)\n" + VISIT,
    ],
    ids=[
        "set",
        "set later",
        "set before a task",
        "configured",
        "configured later",
        "passed",
        "wanted so",
        "no traces",
    ],
)
def test_no_false_alarm(code: str):
    """Nothing is said where a provider is there when a task ends, or where no spans are wanted."""
    assert said(code) == []


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"AFTERWORD_DISABLED": "true"}], ids=str)
@pytest.mark.parametrize("begin", [BEGIN, BEGIN + "    afterword.configure()\n"], ids=["bare", "configured"])
def test_switched_off_on_purpose(begin: str, variables: dict[str, str]):
    """Nothing is said where OpenTelemetry or Afterword was switched off."""
    assert said(begin + INSTRUMENT + VISIT, **variables) == []


def test_unsampled_is_not_unrecorded():
    """A trace that the sampler leaves out is no reason to say anything."""
    assert said(BEGIN + "    afterword.configure()\n" + INSTRUMENT + VISIT, OTEL_TRACES_SAMPLER="always_off") == []


def test_the_provider_that_stands_in_is_none():
    """Passing on the global provider that nobody has set sets none."""
    [line] = said(BEGIN + "    afterword.instrument(app, tracer_provider=trace.get_tracer_provider())\n" + VISIT)
    assert line.startswith(SAID)
