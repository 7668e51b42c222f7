"""What scripts of Caffe's days use and later numpy, scipy, OpenCV or Python dropped, and today's spelling."""

from __future__ import annotations

import re
from types import ModuleType

__all__ = ["todays_spelling"]

_IMREAD = "cv2.imread(path) (B, G, R) or PIL.Image.open(path)"
# Module or class -> name -> what to write instead.
_ATTRIBUTES = {
    "numpy": {
        "Inf": "np.inf",
        "Infinity": "np.inf",
        "NaN": "np.nan",
        "PINF": "np.inf",
        "NINF": "-np.inf",
        "alltrue": "np.all",
        "asscalar": "the method .item()",
        "bool": "bool or np.bool_",
        "complex": "complex or np.complex128",
        "complex_": "np.complex128",
        "cumproduct": "np.cumprod",
        "float": "float or np.float64",
        "float_": "np.float64",
        "in1d": "np.isin",
        "infty": "np.inf",
        "int": "int or np.int64",
        "long": "int or np.int64",
        "math": "the module math",
        "object": "object or np.object_",
        "product": "np.prod",
        "rank": "np.ndim",
        "row_stack": "np.vstack",
        "sometrue": "np.any",
        "str": "str or np.str_",
        "string_": "np.bytes_",
        "trapz": "np.trapezoid",
        "unicode": "str or np.str_",
        "unicode_": "np.str_",
    },
    "ndarray": {
        "itemset": "an assignment, array[index] = value",
        "newbyteorder": "array.view(array.dtype.newbyteorder())",
        "ptp": "np.ptp(array)",
        "tostring": "array.tobytes()",
    },
    "array": {"tostring": "tobytes()", "fromstring": "frombytes()"},
    "scipy.misc": {
        "comb": "scipy.special.comb",
        "factorial": "scipy.special.factorial",
        "fromimage": "np.asarray(image)",
        "imread": _IMREAD,
        "imresize": "cv2.resize(image, (width, height))",
        "imrotate": "scipy.ndimage.rotate",
        "imsave": "cv2.imwrite(path, image) (B, G, R) or PIL.Image.fromarray(image).save(path)",
        "imshow": "matplotlib.pyplot.imshow",
        "lena": "skimage.data.astronaut",
        "logsumexp": "scipy.special.logsumexp",
        "toimage": "PIL.Image.fromarray(image)",
    },
    "scipy": {"misc": "what took its place: scipy.special, or cv2 and PIL for pictures", "rand": "np.random.rand"},
    "scipy.ndimage": {"imread": _IMREAD},
    "cv2": {
        "CV_AA": "cv2.LINE_AA",
        "CV_LOAD_IMAGE_COLOR": "cv2.IMREAD_COLOR",
        "CV_LOAD_IMAGE_GRAYSCALE": "cv2.IMREAD_GRAYSCALE",
        "CV_LOAD_IMAGE_UNCHANGED": "cv2.IMREAD_UNCHANGED",
        "cv": "names of cv2 itself (cv2.cv.CV_BGR2RGB is cv2.COLOR_BGR2RGB)",
    },
    "collections": {
        name: f"collections.abc.{name}"
        for name in ("Callable", "Iterable", "Iterator", "Mapping", "MutableMapping", "Sequence")
    },
    "fractions": {"gcd": "math.gcd"},
    "inspect": {"getargspec": "inspect.getfullargspec"},
    "os": {"getcwdu": "os.getcwd"},
    "string": {"maketrans": "str.maketrans", "letters": "string.ascii_letters", "join": "the method .join of a str"},
    "time": {"clock": "time.perf_counter"},
}
# Error, its text, and what to write.
_TEXTS = (
    (TypeError, r"^load\(\) missing 1 required positional argument: 'Loader'", "yaml.safe_load(text)"),
    (TypeError, r"implicitly convert Unicode to bytes", "a key as bytes: key.encode()"),
    (TypeError, r"unexpected keyword argument 'as_grey'", "as_gray"),
    (ValueError, r"Object arrays cannot be loaded when allow_pickle=False", "np.load(path, allow_pickle=True)"),
    (ValueError, r"binary mode of fromstring", "np.frombuffer(data, dtype)"),
    (DeprecationWarning, r"binary mode of fromstring", "np.frombuffer(data, dtype)"),
    (
        UnicodeDecodeError,
        r"'ascii' codec can't decode byte",
        "pickle.load(file, encoding='latin1') or open(path, 'rb')",
    ),
)
_IMPORTED = re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'")

_ABSENT = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")


def todays_spelling(error: Exception, line: str = "") -> str:
    """What was dropped and how it is written today, as a sentence; "" for an error of another kind.

    Args:
        line: the line of code that failed; where a whole module is gone it says which of its names were wanted.

    Example:
        ``np.float`` gives "numpy has no 'float' any more; write float or np.float64".
    """
    owner, name = _missing(error)
    wanted = _ATTRIBUTES.get(f"{owner}.{name}", {})
    used = [f"{word}: {wanted[word]}" for word in re.findall(r"\w+", line) if word in wanted]
    if used:
        return f"{owner} has no {name!r} any more; write for {'; for '.join(used)}"
    instead = _ATTRIBUTES.get(owner, {}).get(name)
    if instead:
        return f"{owner} has no {name!r} any more; write {instead}"
    for kind, pattern, spelling in _TEXTS:
        if isinstance(error, kind) and re.search(pattern, str(error)):
            return f"today this is written with {spelling}"
    return ""


def _missing(error: Exception) -> tuple[str, str]:
    """Module or class and the name that it lacks; empty where the error says nothing of that kind."""
    if isinstance(error, AttributeError):
        if error.name:
            owner = error.obj
            return owner.__name__ if isinstance(owner, ModuleType) else type(owner).__name__, error.name
        found = _ABSENT.search(str(error))  # as numpy raises it itself
        return (found["module"], found["name"]) if found else ("", "")
    if isinstance(error, ModuleNotFoundError) and error.name:
        owner, _, name = error.name.rpartition(".")
        return owner, name
    if isinstance(error, ImportError):
        found = _IMPORTED.search(str(error))
        return (found["module"], found["name"]) if found else ("", "")
    return "", ""
