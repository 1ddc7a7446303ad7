"""Forked processes: the parent alone tells what it had in hand, the child what it does itself."""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from afterword._signals.multiprocess import directory as workers
from tests.support.interpreter import run_fresh

pytestmark = pytest.mark.slow  # an interpreter for each test

PROGRAM = """
import asyncio, atexit, gc, json, os, signal, sys, threading, warnings
import structlog
from fastapi import BackgroundTasks
from fastapi.responses import JSONResponse
import afterword
from afterword import task
from afterword._ledger import runs as ledger
from afterword._ledger import deferred as lifetimes
from tests.support.asgi import call
from tests.support.in_process import InProcessStage
from tests.support.stage import named

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

stage = InProcessStage()
stage.accounts.lines.configure()
recorder = stage.accounts.recorder

def numbers():
    samples = list(stage.accounts.prometheus.samples()) + list(stage.accounts.meter.samples())
    counted = ("background_task_scheduled", "background_task_started", "background_task_ended",
               "background_task_pending", "background_task_running", "background_task_oldest_age",
               "background_task_failures", "afterword_worker_thread_busy")
    kept = {}
    for name, labels, value in samples:
        if name.startswith(counted) and value:
            labels = {key: text for key, text in sorted(labels.items()) if key != "background_task_engine"}
            kept[" ".join([name, *labels.values()])] = value
    return kept

def told():
    return [len(recorder.scheduled_runs), len(recorder.started_runs), len(recorder.ended_runs),
            len(recorder.failed_requests), len(stage.accounts.lines.entries), len(stage.accounts.spans.of_runs())]

def account():
    stage.accounts.prometheus.assert_law(settled=False)
    stage.accounts.meter.assert_law(settled=False)
    names = [[run.name for run in runs] for runs in (ledger.pending(), ledger.running())]
    return {"held": names, "numbers": numbers()}

def in_child(act):
    # fork, do something in the child, which ends at once; return what it says
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        signal.alarm(30)  # one that hangs ends
        try:
            answer = act()
        except BaseException as exc:
            answer = repr(exc)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = json.loads(pipe.read() or b"null")
    assert os.waitpid(pid, 0)[1] == 0
    return answer

said = {}

def look_around(before):
    # what a child finds, after everything that its parent left has been let go
    batches.clear()
    gc.collect()
    lifetimes.drain()
    current = afterword.current()
    told_since = [now - then for now, then in zip(told(), before)]
    return account() | {"told": told_since, "current": current and current.name}

batches = []
"""


def run(program: str) -> Any:
    """Run a program in an interpreter of its own; return what it prints as JSON."""
    return json.loads(run_fresh(PROGRAM + textwrap.dedent(program))[0])


FORKING = """
def forks():
    said["parent"] = account()
    said["child"] = in_child(lambda before=told(): look_around(before))

async def forks_on_loop():
    forks()

@task("never failed")
def never_failed(): ...

def scenario(on_loop):
    function = named("mail")(forks_on_loop if on_loop else forks)

    async def endpoint(background: BackgroundTasks):
        mine = BackgroundTasks()
        mine.add_task(stage.works("report"))  # held by the program until the fork
        batches.append(mine)
        del mine
        background.add_task(stage.works_in_thread("first"))
        background.add_task(function)
        background.add_task(stage.works("last"))

    app = stage.app(endpoint)
    asyncio.run(call(app))
    batches.clear()
    gc.collect()
    lifetimes.drain()
    said["end"] = [sorted(stage.outcomes), told()]
    print(json.dumps(said))
"""


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_task_that_forks(on_loop: bool):
    """The child of a task that forks holds and tells nothing of its parent; the parent tells everything once."""
    said = run(f"{FORKING}\nscenario({on_loop})")
    assert said["parent"]["held"] == [["shop.report", "shop.last"], ["shop.mail"]]
    assert said["child"] == {"held": [[], []], "numbers": {}, "told": [0] * 6, "current": "shop.mail"}
    outcomes = [["first", "succeeded"], ["last", "succeeded"], ["mail", "succeeded"], ["report", "abandoned"]]
    assert said["end"][0] == outcomes
    scheduled, started, ended, failed, _, spans = said["end"][1]
    assert (scheduled, started, ended, failed, spans) == (4, 3, 4, 0, 4)


def test_a_child_that_serves():
    """A child forked of a parent that has counted, as of gunicorn's with `--preload`, counts from 0, and truly."""
    program = """
    @task("declared")
    async def declared(): ...

    @task("used")
    async def used(): ...

    async def endpoint(background: BackgroundTasks):
        background.add_task(used)
        background.add_task(stage.works_in_thread("report"))

    app = stage.app(endpoint)
    for _ in range(3):
        asyncio.run(call(app))

    def runs_timed():
        return sum(point.count for point in stage.accounts.meter.points("background_task.duration"))

    def serve():
        at_first = numbers()
        timed = [runs_timed()]
        for _ in range(2):
            asyncio.run(call(app))
        timed.append(runs_timed())
        known = {l["background_task_name"] for n, l, v in stage.accounts.prometheus.samples()
                 if n == "background_task_scheduled_total"}
        return {"at first": at_first, "numbers": numbers(), "known": sorted(known), "held": account()["held"],
                "timed": timed}

    children = [in_child(serve) for _ in range(2)]
    print(json.dumps([children, numbers(), runs_timed()]))
    """
    [children, parent, timed] = run(program)
    assert timed == 6
    for child in children:
        assert (child["at first"], child["timed"]) == ({}, [0, 4])
        assert child["known"] == ["declared", "shop.report", "used"]
        assert child["held"] == [[], []]
        for name in ("used", "shop.report"):
            assert child["numbers"][f"background_task_scheduled_total {name}"] == 2
            assert child["numbers"][f"background_task_ended_total {name} succeeded"] == 2
    assert parent["background_task_scheduled_total used"] == 3


def test_a_child_of_multiprocessing():
    """A process that a task starts with `multiprocessing` is no second teller of that task."""
    program = """
    import multiprocessing

    context = multiprocessing.get_context("fork")
    inbox = context.SimpleQueue()

    def work(before):
        inbox.put(look_around(before))

    @named("mail")
    def starts():
        process = context.Process(target=work, args=(told(),))
        process.start()
        process.join()
        said["exitcode"] = process.exitcode

    asyncio.run(call(stage.app_with(starts)))
    print(json.dumps([inbox.get(), said["exitcode"], stage.outcomes, told()]))
    """
    child, exitcode, outcomes, told = run(program)
    assert child == {"held": [[], []], "numbers": {}, "told": [0] * 6, "current": "shop.mail"}
    assert exitcode == 0
    assert outcomes == [["mail", "succeeded"]]
    assert (told[:4], told[5]) == ([1, 1, 1, 0], 1)


@pytest.mark.parametrize("where", ["task", "endpoint"])
def test_a_child_that_exits_through_the_request(where: str):
    """A child that leaves by `sys.exit`, up through its parent's task and request, tells nothing of either."""
    program = f"""
    def fork():
        reader, writer = os.pipe()
        before = told()
        if os.fork() == 0:
            def say():
                lifetimes.drain()
                os.write(writer, json.dumps([now - then for now, then in zip(told(), before)]).encode())
                os._exit(0)
            atexit.register(say)
            sys.exit(3)
        os.close(writer)
        with open(reader, "rb") as pipe:
            said["child"] = json.loads(pipe.read())
        os.wait()

    @named("mail")
    async def mail():
        if {where == "task"}:
            fork()

    async def endpoint(background: BackgroundTasks):
        background.add_task(mail)
        background.add_task(stage.works("last"))
        if {where == "endpoint"}:
            fork()

    asyncio.run(call(stage.app(endpoint)))
    print(json.dumps([said["child"], stage.outcomes, told()]))
    """
    child, outcomes, told = run(program)
    assert child == [0] * 6
    assert outcomes == [["mail", "succeeded"], ["last", "succeeded"]]
    assert (told[:4], told[5]) == ([2, 2, 2, 0], 2)


def test_a_child_destroys_nothing_of_its_parent():
    """What was bound where a parent's tasks were scheduled lives on in a child that lets go of the tasks."""
    program = """
    class Connection:
        def __init__(self, of):
            self.of = of

        def __del__(self):
            closed.append(self.of)

    closed = []

    def held(of, function):
        structlog.contextvars.bind_contextvars(connection=Connection(of))
        batch = BackgroundTasks()
        batch.add_task(function)
        structlog.contextvars.unbind_contextvars("connection")
        return batch

    async def forks():
        reader, writer = os.pipe()
        if os.fork() == 0:
            def say():
                batches.clear()
                gc.collect()
                lifetimes.drain()
                os.write(writer, json.dumps(closed).encode())
                os._exit(0)
            atexit.register(say)
            sys.exit()
        os.close(writer)
        with open(reader, "rb") as pipe:
            said["child"] = json.loads(pipe.read())
        os.wait()

    app = stage.fastapi()

    @app.get("/")
    async def endpoint():
        batches.append(held("pending", stage.works("mail")))
        return JSONResponse({}, background=held("running", forks))

    afterword.instrument(app, traces=False, metrics=False, logs=False)
    asyncio.run(call(app))
    batches.clear()
    gc.collect()
    lifetimes.drain()
    print(json.dumps([said["child"], sorted(closed)]))
    """
    child, parent = run(program)
    assert child == []
    assert parent == ["pending", "running"]


def test_a_fork_while_threads_hold_our_locks():
    """A child can serve although threads of its parent were scheduling and instrumenting when it was forked."""
    program = """
    from opentelemetry.metrics import NoOpMeterProvider
    sys.setswitchinterval(1e-6)
    over = threading.Event()
    # of the locks of others, which a child may find held, the child needs none
    ours = {"traces": False, "logs": False, "registry": stage.settings["registry"],
            "meter_provider": NoOpMeterProvider(), "metrics_path": None}

    def made():
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(background: BackgroundTasks):
            for task in (stage.works("mail"), stage.works_in_thread("report")):
                background.add_task(task)

        return app

    app = made()
    afterword.instrument(app, **ours)
    asyncio.run(call(app))  # so that nothing is left to import

    def visit():
        while not over.is_set():
            asyncio.run(call(app))

    def instrument():
        while not over.is_set():
            app = stage.fastapi()
            afterword.instrument(app, traces=False, metrics=False, logs=False)
            afterword.uninstrument(app)

    def serve():
        another = made()
        afterword.instrument(another, **ours)
        return [asyncio.run(call(each)).status for each in (app, another)]

    threads = [threading.Thread(target=f) for f in (visit, visit, instrument)]
    for thread in threads:
        thread.start()
    statuses = [in_child(serve) for _ in range(20)]
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(statuses))
    """
    assert run(program) == [[200, 200]] * 20


def test_the_sweeper_of_a_child():
    """A child has a thread of its own that tells what it drops while it is idle."""
    program = """
    from tests.support.waiting import wait_until
    held = []

    async def endpoint():
        tasks = BackgroundTasks()
        tasks.add_task(stage.works("mail"))
        held.append(tasks)

    app = stage.app(endpoint)
    asyncio.run(call(app))
    held.clear()
    wait_until(lambda: stage.outcomes == [("mail", "abandoned")])

    def drop():
        asyncio.run(call(app))
        held.clear()
        wait_until(lambda: len(stage.outcomes) == 2)
        return stage.outcomes[1:]

    print(json.dumps(in_child(drop)))
    """
    assert run(program) == [["mail", "abandoned"]]


def test_a_system_that_does_not_fork():
    """Where there is no forking, as on Windows, everything else is there: import, instrument, serve, account."""
    program = """
    import os
    del os.fork, os.register_at_fork
    import asyncio, json, warnings
    from fastapi import BackgroundTasks, FastAPI
    import afterword
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Starlette thinks of httpx is not the subject
        from fastapi.testclient import TestClient

    did = []

    def send_receipt(order):
        did.append(order)

    app = FastAPI()
    afterword.instrument(app)

    @app.post("/orders/{order}")
    async def place(order: int, tasks: BackgroundTasks):
        tasks.add_task(send_receipt, order)

    with TestClient(app) as client:
        assert client.post("/orders/7").status_code == 200
        scrape = client.get("/metrics").text
    ended = [line for line in scrape.splitlines() if line.startswith("background_task_ended_total{")]
    counted = [line for line in ended if not line.endswith(" 0.0")]
    print(json.dumps([did, counted]))
    """
    [did, [line]] = json.loads(run_fresh(program)[0])
    assert did == [7]
    assert line.endswith('_outcome="succeeded"} 1.0')


def test_several_workers_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On Windows a directory for several workers is refused in words: asking there for a worker would end it."""
    assert workers.problem_with(str(tmp_path)) is None
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        complaint = workers.problem_with(str(tmp_path))
    assert "several workers are not supported on Windows" in str(complaint)
