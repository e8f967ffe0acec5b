"""Faults of the bucket while it is read."""

from kapman_simulator.answers import FOREVER, Answer, ObjectRequest, s3_error
from kapman_simulator.faults.files import Row, edit_rows
from kapman_simulator.faults.stage import Stage, Times, fault


def _other_rows(body: bytes) -> bytes:
    """The file as it would be published again: the last row gone, volumes of the first three doubled, one row new."""

    def change(rows: list[Row]) -> list[Row]:
        for row in rows[:3]:
            row[b"volume"] = str(2 * int(float(row[b"volume"])) + 1).encode()
        return [*rows[:-1], {**rows[-1], b"ticker": b"ZZRPB"}]

    return edit_rows(body, change)


@fault("file")
def republished_file(stage: Stage, key: str) -> None:
    """After its first read the file is replaced: other ETag, three volumes changed, one row gone, one new."""
    reads = Times()

    def replace(request: ObjectRequest, answer: Answer) -> Answer:
        if request.key == key and answer.status in {200, 206} and reads(key) == 0:
            stage.put(key, _other_rows(stage.market.files[key]))
        return answer

    stage.object_faults.append(replace)


@fault("file")
def republished_mid_read(stage: Stage, key: str) -> None:
    """In the middle of its first read the connection breaks and the file is replaced: a resumed read mixes two files."""
    reads = Times()

    def replace(request: ObjectRequest, answer: Answer) -> Answer:
        if request.key == key and answer.status in {200, 206} and reads(key) == 0:
            stage.put(key, _other_rows(stage.market.files[key]))
            answer.cut_at = len(answer.body) // 2
        return answer

    stage.object_faults.append(replace)


@fault("file")
def s3_cut_body(stage: Stage, key: str) -> None:
    """The first read of the file breaks off in the middle."""
    reads = Times()

    def cut(request: ObjectRequest, answer: Answer) -> Answer:
        if request.key == key and reads(key) == 0:
            answer.cut_at = len(answer.body) // 2
        return answer

    stage.object_faults.append(cut)


@fault("file")
def s3_timeout(stage: Stage, key: str) -> None:
    """The first read of the file is never answered."""
    reads = Times()

    def wait(request: ObjectRequest, answer: Answer) -> Answer:
        if request.key == key and reads(key) == 0:
            answer.delay = FOREVER
        return answer

    stage.object_faults.append(wait)


@fault("seconds", "2")
def s3_slow(stage: Stage, seconds: float) -> None:
    """Every object's body takes this long."""

    def drip(_: ObjectRequest, answer: Answer) -> Answer:
        answer.seconds = seconds
        return answer

    stage.object_faults.append(drip)


@fault("count", "1")
def s3_500(stage: Stage, count: int) -> None:
    """The first reads of every object, this many, are answered 500."""
    _refuse_first(
        stage, count, s3_error(500, "InternalError", "We encountered an internal error. Please try again.")
    )


@fault("count", "1")
def s3_slow_down(stage: Stage, count: int) -> None:
    """The first reads of every object, this many, are answered 503 SlowDown."""
    _refuse_first(stage, count, s3_error(503, "SlowDown", "Please reduce your request rate."))


def _refuse_first(stage: Stage, count: int, refusal: Answer) -> None:
    reads = Times()
    stage.object_faults.append(lambda request, answer: refusal if reads(request.key) < count else answer)


@fault("file")
def s3_forbidden(stage: Stage, key: str) -> None:
    """The file is listed, and reading it is forbidden: the plan doesn't reach back that far."""
    refusal = s3_error(403, "AccessDenied", "Access Denied")
    stage.object_faults.append(lambda request, answer: refusal if request.key == key else answer)
