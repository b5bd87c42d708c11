# Finds the course around this notebook. Colab first fetches it, and what Colab lacks.
import sys
from pathlib import Path

from IPython.core.error import UsageError

COURSE = ""
if "google.colab" in sys.modules:
    fetch = "test -d course || unzip -q course.zip 2>&- || git clone -q --depth 1"
    get_ipython().system(f"{fetch} {COURSE} course && python course/tools/colab.py")
places = (Path.cwd(), *Path.cwd().parents, Path("course").resolve())
root = next((p for p in places if (p / "helpers/config.py").exists()), None)
if root is None:
    raise UsageError("needs the course: open it in a clone or in the workshop zip.")
sys.path.insert(0, str(root))
