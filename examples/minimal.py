"""The README's quick start: ``uvicorn examples.minimal:app``."""

from fastapi import BackgroundTasks, FastAPI, HTTPException

from afterword import instrument

app = FastAPI()
instrument(app, console="/afterword")


def send_receipt(order: int) -> None:
    print(f"the receipt of order {order}")


@app.post("/orders/{order}")
def place(order: int, tasks: BackgroundTasks) -> str:
    tasks.add_task(send_receipt, order)
    if order == 13:
        raise HTTPException(409, "sold out")
    return "thank you"
