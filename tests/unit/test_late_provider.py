"""A meter provider that is set after ``instrument``: in a process of its own, as it can be set only once."""

from tests.support.interpreter import run_fresh

APP = """
    import asyncio
    from contextlib import asynccontextmanager
    from fastapi import BackgroundTasks, FastAPI
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    import afterword
    from tests.support.asgi import call
    from tests.support.numbers import recorded

    reader = InMemoryMetricReader()

    def set_provider():
        metrics.set_meter_provider(MeterProvider([reader]))

    def counted(name):
        found = [metric for metric in recorded(reader) if metric.name == name]
        return [point.value for metric in found for point in metric.data.data_points]

    async def mail(): ...
"""
ENDPOINT = """
    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(mail)

    async def serve():
        messages = ["lifespan.startup", "lifespan.shutdown"]

        async def receive():
            return {"type": messages.pop(0)}

        async def send(message):
            if message["type"] == "lifespan.startup.complete":
                await call(app)

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    asyncio.run(serve())
    print(counted("background_task.scheduled"))
"""


def test_set_in_the_lifespan():
    """The first request after a lifespan that sets the provider is counted, however soon it comes."""
    printed, _ = run_fresh(
        APP
        + """
    @asynccontextmanager
    async def lifespan(app):
        set_provider()
        yield

    app = FastAPI(lifespan=lifespan)
    afterword.instrument(app)
    """
        + ENDPOINT
    )
    assert printed.strip() == "[1]"


def test_set_after_instrument():
    """A provider that is set right after ``instrument`` counts the first request."""
    printed, _ = run_fresh(
        APP
        + """
    app = FastAPI()
    afterword.instrument(app)
    set_provider()
    """
        + ENDPOINT
    )
    assert printed.strip() == "[1]"
