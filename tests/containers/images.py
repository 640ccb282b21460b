"""Makes images for `docker-compose.sentinel.yml` without a registry: from Debian's packages, by debootstrap.

    python -m tests.containers.images

One system with Python, Redis, PostgreSQL, nginx and Prometheus is made once and kept in CACHE. It is imported under the
names that the compose file uses. The service's image is built from it with `deploy/Dockerfile`. The users, folders and
entrypoints of the official images are made here in a simple form. Grafana is missing, because Debian has no package of it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.sentinel.yml"
CACHE = Path(os.environ.get("STATEROOM_CONTAINERS_CACHE", "/var/tmp/stateroom-containers"))
BASE = "localhost/stateroom-test-base:latest"
PACKAGES = (
    "ca-certificates", "python3", "python3-venv", "redis-server", "redis-sentinel", "postgresql", "nginx-light", "prometheus",
)  # fmt: skip
NOT_NEEDED = (
    "./dev", "./proc", "./sys", "./var/cache", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man", "./usr/share/locale",
    "./usr/share/javascript", "./usr/share/nodejs", "./usr/share/i18n",
)  # fmt: skip
# Without systemd no timer checks health. Tests that wait for it call `podman healthcheck run`.
ENVIRONMENT = {"CONTAINERS_CONF": str(CACHE / "containers.conf"), "DISABLE_HC_SYSTEMD": "true"}
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


def environment() -> dict[str, str]:
    """The environment for podman and podman-compose."""
    return {**os.environ, **ENVIRONMENT}


def podman(*words: str, **options: object) -> None:
    subprocess.run(["podman", *words], check=True, env=environment(), **options)  # type: ignore[call-overload]


def default_image(variable: str) -> str:
    """The compose file's default for this variable."""
    found = re.search(rf"\$\{{{variable}:-([^}}]+)\}}", COMPOSE_FILE.read_text(encoding="utf-8"))
    assert found, f"{variable} is not in {COMPOSE_FILE.name}"
    return found[1]


def make_images() -> None:
    """Make all images. The first time takes minutes. Later only changed ones are made."""
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    (CACHE / "containers.conf").write_text(CONTAINERS_CONF, encoding="utf-8")
    if not _has_image(BASE):
        _make_system()
        _import_system()
    for variable in ("STACK_BASE_IMAGE", "STACK_REDIS_IMAGE", "STACK_NGINX_IMAGE"):
        podman("tag", BASE, default_image(variable))
    _build("STACK_PROMETHEUS_IMAGE", 'ENTRYPOINT ["/bin/prometheus"]')
    _build(
        "STACK_POSTGRES_IMAGE",
        "COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
    )
    build_service()


def build_service() -> None:
    """Make the service's image from the unchanged `deploy/Dockerfile`. pip is configured as on this machine."""
    podman(
        "build", "--quiet", "--format", "docker", "--network", "host", *_pip_mounts(),
        "--build-arg", f"BASE_IMAGE={default_image('STACK_BASE_IMAGE')}",
        "--file", str(ROOT / "deploy" / "Dockerfile"), "--tag", default_image("STACK_IMAGE"), str(ROOT),
        stdout=sys.stderr,
    )  # fmt: skip


def _has_image(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False, env=environment()).returncode == 0


def _make_system() -> None:
    system = CACHE / "system"
    if system.exists():
        return
    draft = CACHE / "system.new"
    shutil.rmtree(draft, ignore_errors=True)
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    assert release, "not a Debian"
    words = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release[1], str(draft)]
    with (CACHE / "debootstrap.log").open("w", encoding="utf-8") as log:
        subprocess.run(words, check=True, stdout=log, stderr=log)
    # The users and folders of the official images.
    folders = "/data /var/lib/postgresql/data /run/postgresql"
    script = f"""set -e
        usermod --non-unique --uid 999 postgres
        groupmod --non-unique --gid 999 postgres
        rm -rf /var/lib/postgresql /run/postgresql && mkdir -p {folders} /prometheus
        chown 999:999 {folders} && chmod 700 {folders}
        chmod 3777 /run/postgresql && chown 65534:65534 /prometheus
        find / -xdev -perm /6000 -type f -exec chmod ug-s {{}} +"""
    subprocess.run(["chroot", str(draft), "sh", "-c", script], check=True)
    draft.rename(system)


def _import_system() -> None:
    tar = ["tar", "--create", "--directory", str(CACHE / "system"), *(f"--exclude={name}/*" for name in NOT_NEEDED), "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        # On Debian `postgres` and its tools are not on the path.
        path = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{_postgres_folder()}"
        podman("import", "--quiet", "--change", f"ENV PATH={path}", "-", BASE, stdin=packing.stdout, stdout=sys.stderr)
    if packing.returncode:
        raise RuntimeError(f"tar ended with {packing.returncode}")


def _postgres_folder() -> str:
    found = next((CACHE / "system" / "usr" / "lib" / "postgresql").glob("*/bin"))
    return f"/{found.relative_to(CACHE / 'system')}"


def _build(variable: str, *lines: str) -> None:
    text = "\n".join([f"FROM {BASE}", *lines])
    here = str(Path(__file__).parent)
    podman(
        "build", "--quiet", "--file", "-", "--tag", default_image(variable), here, input=text.encode(), stdout=sys.stderr
    )  # fmt: skip


def _pip_mounts() -> list[str]:
    """Mounts for a build: this machine's pip configuration, and the certificates and local folders that it names."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    given = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    options = {name.rsplit(".", 1)[-1]: ast.literal_eval(value) for name, value in given.items()}
    configuration = CACHE / "pip.conf"
    lines = [f"{name} = {' '.join(value.split())}" for name, value in options.items()]
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
    named = re.findall(r"(?:^|\s|file://)(/[^\s]+)", "\n".join(options.values()))
    folders = {Path(name).parent if Path(name).name == "simple" else Path(name) for name in named}
    mounts = {configuration: "/etc/pip.conf", **{each: str(each) for each in sorted(folders) if each.exists()}}
    certificates = Path("/etc/ssl/certs")
    if certificates.exists() and not any(certificates in each.parents for each in mounts):
        mounts[certificates] = str(certificates)
    return [word for source, target in mounts.items() for word in ("--volume", f"{source}:{target}:ro")]


if __name__ == "__main__":
    make_images()
