"""Answers PromQL from an application's own numbers: what a query must return if nothing goes missing on the way.

It knows as much of the language as the dashboards and recording rules use, and one moment only, at the end of
everything. A rate or an increase is taken over the whole life of the counters, which began at 0; before it, at any
``offset``, there was nothing.
"""

import operator
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from afterword._views.account import Histogram

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_TOKEN = re.compile(
    r"""\s*(?:\#.*|(\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:][\w:]*|[><!=]=|=~|!~|[-+*/(){},<>=]))"""
)
_OFFSET = re.compile(r"\d+[smhd]")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
}
_COMPUTE: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_AGGREGATE: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
}
_LEVELS = (("or",), ("unless", "and"), tuple(_COMPARE), ("+", "-"), ("*", "/"))
_MATCH: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "=~": lambda value, pattern: re.fullmatch(pattern, value) is not None,
}


class Oracle:
    """Knows the numbers of all instances, and the recording rules."""

    def __init__(self, scrapes: Mapping[tuple[str, str], str], records: Iterable[Mapping[str, Any]]) -> None:
        self._samples: dict[str, Vector] = defaultdict(dict)
        for (job, instance), text in scrapes.items():
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    said = {label: value for label, value in sample.labels.items() if value}
                    labels = {**said, "job": job, "instance": instance}
                    self._samples[sample.name][frozenset(labels.items())] = sample.value
        for rule in records:
            fixed = rule.get("labels", {})
            found = self.ask(rule["expr"])
            vector = {frozenset({**dict(labels), **fixed}.items()): value for labels, value in found.items()}
            self._samples[rule["record"]] |= vector

    def ask(self, expression: str) -> Vector:
        """Return the elements of the instant vector."""
        tokens = [token for token in _TOKEN.findall(expression.replace(" offset ", " offset d")) if token]
        answer = _Parser(tokens, self._samples).parse()
        assert isinstance(answer, dict)
        return answer


class _Parser:
    """One expression, evaluated while it is read."""

    def __init__(self, tokens: list[str], samples: Mapping[str, Vector]) -> None:
        self._tokens = [*tokens, ""]
        self._samples = samples

    def parse(self) -> Any:
        answer = self._level(0)
        assert self._tokens == [""], f"not understood: {self._tokens}"
        return answer

    def _next(self, *expected: str) -> str:
        token = self._tokens.pop(0)
        assert not expected or token in expected, f"{token} instead of {expected}"
        return token

    def _accept(self, token: str) -> bool:
        return self._tokens[0] == token and bool(self._tokens.pop(0))

    def _names(self) -> list[str]:
        self._next("(")
        names = []
        while not self._accept(")"):
            names.append(self._next())
            self._accept(",")
        return names

    def _level(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self._primary()
        left = self._level(level + 1)
        while self._tokens[0] in _LEVELS[level]:
            operation = self._next()
            key = self._matching()
            left = _combine(operation, left, self._level(level + 1), key)
        return left

    def _matching(self) -> Callable[[Labels], Labels]:
        if self._accept("on"):
            wanted = self._names()
            return lambda labels: _key(labels, wanted)
        if self._accept("ignoring"):
            ignored = self._names()
            return lambda labels: frozenset(one for one in labels if one[0] not in ignored)
        return lambda labels: labels

    def _primary(self) -> Any:
        token = self._next()
        if token == "(":
            answer = self._level(0)
            self._next(")")
            return answer
        if token[0].isdigit():
            return float(token)
        if token[0] == '"':
            return token[1:-1]
        if token in _AGGREGATE:
            by = self._names() if self._accept("by") else []
            return _aggregate(_AGGREGATE[token], by, self._arguments()[0])
        if self._tokens[0] == "(":
            return _call(token, self._arguments())
        return self._selector(token)

    def _arguments(self) -> list[Any]:
        self._next("(")
        arguments = []
        while not self._accept(")"):
            arguments.append(self._level(0))
            self._accept(",")
        return arguments

    def _selector(self, name: str) -> Vector:
        found = dict(self._samples.get(name, {}))
        if self._accept("{"):
            while not self._accept("}"):
                label, match, pattern = self._next(), _MATCH[self._next()], self._next()[1:-1]
                found = {k: v for k, v in found.items() if match(dict(k).get(label, ""), pattern)}
                self._accept(",")
        if self._tokens[0].startswith("["):
            self._next()
        if self._accept("offset"):
            self._next()
            return {}
        return found


def _key(labels: Labels, names: Iterable[str]) -> Labels:
    return frozenset((name, value) for name, value in labels if name in names)


def _aggregate(function: Callable[[list[float]], float], by: list[str], vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector.items():
        groups[_key(labels, by)].append(value)
    return {labels: function(values) for labels, values in groups.items()}


def _combine(operation: str, left: Any, right: Any, key: Callable[[Labels], Labels]) -> Any:
    if isinstance(left, float):
        left = dict.fromkeys(right, left)
    if isinstance(right, float):
        right = dict.fromkeys(left, right)
    here, there = {key(labels) for labels in left}, {key(labels): value for labels, value in right.items()}
    if operation == "or":
        return left | {labels: value for labels, value in right.items() if key(labels) not in here}
    if operation in {"unless", "and"}:
        wanted = operation == "and"
        return {labels: value for labels, value in left.items() if (key(labels) in there) is wanted}
    pairs = {labels: (value, there[key(labels)]) for labels, value in left.items() if key(labels) in there}
    if operation in _COMPARE:
        return {labels: ours for labels, (ours, theirs) in pairs.items() if _COMPARE[operation](ours, theirs)}
    return {labels: _COMPUTE[operation](ours, theirs) for labels, (ours, theirs) in pairs.items()}


def _call(function: str, arguments: list[Any]) -> Any:
    match function, arguments:
        case (("rate" | "increase" | "last_over_time"), [vector]):
            return vector
        case "resets", [vector]:
            return dict.fromkeys(vector, 0.0)
        case "time", []:
            return time.time()
        case "clamp_min", [vector, number]:
            return {labels: max(value, number) for labels, value in vector.items()}
        case "vector", [number]:
            return {frozenset(): number}
        case "topk", [number, vector]:
            largest = sorted(vector, key=lambda labels: vector[labels], reverse=True)[: int(number)]
            return {labels: vector[labels] for labels in largest}
        case "label_replace", [vector, label, value, "", ""]:
            return {labels | {(label, value)}: number for labels, number in vector.items()}
        case "histogram_quantile", [q, vector]:
            return _quantiles(q, vector)
    raise AssertionError(f"an unknown function: {function}")


def _quantiles(q: float, buckets: Vector) -> Vector:
    histograms: dict[Labels, Histogram] = defaultdict(Histogram)
    for labels, count in buckets.items():
        histograms[frozenset(one for one in labels if one[0] != "le")].add(dict(labels)["le"], count)
    found = {labels: histogram.quantile(q) for labels, histogram in histograms.items()}
    return {labels: value for labels, value in found.items() if value is not None}
