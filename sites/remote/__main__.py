"""gevent first: what is imported after it knows nothing else."""

from gevent import monkey

monkey.patch_all()

from sites.remote.requests import serve  # noqa: E402

if __name__ == "__main__":
    serve()
