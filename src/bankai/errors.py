"""The one exception tree. Every message says what to do next.

BankaiError                  anything this package refuses; the command line prints it in one line, exit code 2
├── FormatError              a file breaks the rules of its format
│   ├── ModelFormatError     GGUF or MLX model file
│   ├── PatchFormatError     .bankai or JSON patch file
│   ├── ProbeFormatError     probe set file
│   └── SignatureFormatError key, signature or trusted-keys file
├── UnsupportedModelError    a sound model file of an architecture or a quantization that is not known
│   └── NotFiniteError       a model that computes infinities or no numbers
├── PlaceError               a place that the model does not have
│   ├── UnknownTensorError   no such tensor
│   └── RowRangeError        row, group or weight outside its tensor, or a weight without a sign bit
├── StateError               the model is not in the state that the patch needs
│   ├── WrongBaseError       the touched bits are neither the patch's before nor its after
│   ├── AlreadyAppliedError  applying twice would take the patch off
│   ├── NotAppliedError      reverting what is not there would put it on
│   └── UnboundPatchError    the patch does not say which bits it expects
├── SignatureError           nothing proves that the file comes from whom it should
│   ├── UnsignedError        there is no signature where one is needed
│   ├── UntrustedKeyError    signed by a key that is not trusted
│   └── TamperedError        the signature does not fit the bytes
├── StoreError               the file cannot be changed safely
├── LibraryError             not a sound library of patches, or it cannot take or give what was asked
├── AuditError               probes that would make a search meaningless
├── ClusterError             no cluster there, or its workers cannot do the work
├── HarnessError             a task of lm-evaluation-harness that is not there or cannot be run on this model
├── ServingError             a request that a server cannot take
│   ├── BadRequestError      it asks for what cannot be done, whatever the server's load
│   ├── UnknownModelError    no model or patch of that name is served
│   ├── BusyError            too many requests wait already
│   ├── StoppingError        the server finishes what was started and takes nothing new
│   └── EngineError          the engine failed at this text
├── StudioError          what is asked of the studio cannot be done
├── DeviceError              no such device here, or not for this engine
└── MissingExtraError        an optional dependency is not installed
"""

__all__ = [
    "AlreadyAppliedError",
    "AuditError",
    "BadRequestError",
    "BankaiError",
    "BusyError",
    "ClusterError",
    "DeviceError",
    "EngineError",
    "FormatError",
    "HarnessError",
    "LibraryError",
    "MissingExtraError",
    "ModelFormatError",
    "NotAppliedError",
    "NotFiniteError",
    "PatchFormatError",
    "PlaceError",
    "ProbeFormatError",
    "RowRangeError",
    "ServingError",
    "SignatureError",
    "SignatureFormatError",
    "StateError",
    "StoppingError",
    "StoreError",
    "StudioError",
    "TamperedError",
    "UnboundPatchError",
    "UnknownModelError",
    "UnknownTensorError",
    "UnsignedError",
    "UnsupportedModelError",
    "UntrustedKeyError",
    "WrongBaseError",
]


class BankaiError(Exception):
    """Base of everything that Bankai raises on purpose."""


class FormatError(BankaiError):
    """A file breaks the rules of its format."""


class ModelFormatError(FormatError):
    """A GGUF file or MLX directory is damaged or hostile."""


class PatchFormatError(FormatError):
    """A patch file is damaged, hostile or of an unknown version."""


class ProbeFormatError(FormatError):
    """A probe file is empty or malformed."""


class SignatureFormatError(FormatError):
    """A key, signature or trusted-keys file is damaged or hostile, or the password of a key is wrong."""


class UnsupportedModelError(BankaiError):
    """The file is sound, but its architecture, a setting of it or a quantization is not known."""


class NotFiniteError(UnsupportedModelError):
    """The model computes infinities or no numbers: its file is damaged, or they do not fit the type."""

    def __init__(
        self,
        message: str = "the model computes infinities or no numbers; get the model again, or compute in float32",
    ) -> None:
        super().__init__(message)


class PlaceError(BankaiError):
    """A flip names a place that the model does not have."""


class UnknownTensorError(PlaceError):
    """The model has no tensor of that name."""


class RowRangeError(PlaceError):
    """The row, group or weight lies outside its tensor, or the weight has no sign bit of its own."""


class StateError(BankaiError):
    """The model is not in the state that the patch needs."""


class WrongBaseError(StateError):
    """The touched bits are neither the patch's before-state nor its after-state."""


class AlreadyAppliedError(StateError):
    """The patch is on; applying it twice would take it off."""


class NotAppliedError(StateError):
    """The patch is not on; reverting it would put it on."""


class UnboundPatchError(StateError):
    """The patch does not say which bits it expects."""


class SignatureError(BankaiError):
    """Nothing proves that the file comes from whom it should."""


class UnsignedError(SignatureError):
    """There is no signature where one is needed."""


class UntrustedKeyError(SignatureError):
    """The signature is of a key that is not trusted."""


class TamperedError(SignatureError):
    """The signature does not fit the bytes: one of them was changed."""


class StoreError(BankaiError):
    """A file cannot be changed safely."""


class LibraryError(BankaiError):
    """A file is not a sound library of patches, or it cannot take or give what was asked."""


class AuditError(BankaiError):
    """Probes that would make a search meaningless."""


class ClusterError(BankaiError):
    """There is no such cluster, or its workers cannot do what is asked."""


class HarnessError(BankaiError):
    """A task of lm-evaluation-harness is not there, has no data here, or cannot be run on this model."""


class ServingError(BankaiError):
    """A server cannot take a request."""


class BadRequestError(ServingError):
    """The request asks for what cannot be done, whatever the server's load; `param` is the field that does, if one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownModelError(ServingError):
    """No model or patch of that name is served."""


class BusyError(ServingError):
    """Too many requests wait already."""


class StoppingError(ServingError):
    """The server finishes what was started and takes nothing new."""


class EngineError(ServingError):
    """The engine failed at this text."""


class DeviceError(BankaiError):
    """The device is not there, or the engine computes on no other than its own."""


class StudioError(BankaiError):
    """What somebody asks of the studio cannot be done."""


class MissingExtraError(BankaiError):
    """An optional dependency is not installed."""
