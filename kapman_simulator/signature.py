"""AWS signature version 4 checked on the server's side, with the client's own implementation (botocore)."""

import hmac
import re
from collections.abc import Iterable, Mapping

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<date>\d{8})/(?P<region>[^/,]+)/s3/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class SignatureRefused(Exception):
    """Why a request isn't let in, as S3 says it: `code` and `message` of its error document."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def verify(method: str, target: str, headers: Mapping[str, str], access_key_id: str, secret: str) -> None:
    """Raise SignatureRefused unless the request was signed with this key pair.

    target: path and query as they came over the wire, still encoded. headers: lower-case names.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None or "x-amz-date" not in headers:
        raise SignatureRefused("AccessDenied", "Access Denied")
    if match["key"] != access_key_id:
        raise SignatureRefused(
            "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
        )
    expected = _signature(
        method, target, _signed(headers, match["headers"].split(";")), match["region"], access_key_id, secret
    )
    if not hmac.compare_digest(expected, match["signature"]):
        raise SignatureRefused(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
        )


def _signed(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    missing = [name for name in names if name not in headers]
    if missing:
        raise SignatureRefused(
            "AccessDenied", f"There were headers present in the request which were not signed: {missing}"
        )
    return {name: headers[name] for name in names}


def _signature(
    method: str, target: str, headers: dict[str, str], region: str, access_key_id: str, secret: str
) -> str:
    signer = S3SigV4Auth(Credentials(access_key_id, secret), "s3", region)
    request = AWSRequest(method=method, url=f"http://{headers['host']}{target}", headers=headers)
    request.context["timestamp"] = headers["x-amz-date"]
    try:
        canonical = signer.canonical_request(request)
        return str(signer.signature(signer.string_to_sign(request, canonical), request))
    except (BotoCoreError, ValueError) as error:
        raise SignatureRefused("AccessDenied", f"The request can't be verified: {error}") from error
