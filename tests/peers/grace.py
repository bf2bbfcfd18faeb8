"""The other judge of the refresh tests: django-oauth-toolkit, with rotation and a grace period.

    grace.py        takes a free port of the loopback interface, prints `ready http://127.0.0.1:PORT`, and serves until
                    its standard input ends
    CLIENT_ID, CLIENT_SECRET     the client it knows
    GRACE=seconds                for how long a used refresh token still gets the answer it got first (120)

What it grants and refuses at /o/token/ is the toolkit's own doing. The paths that begin with `_` belong to the tests:

    POST /_grants?count=N   creates living grants, as an authorization code flow would have left them: [refresh_token, ..]
    GET  /_stats            {granted, refused}: how the token endpoint has answered so far

Requests are served one after the other: the database is a file, and locking it is not what is judged here.
"""

import json
import logging
import os
import secrets
import sys
import tempfile
import threading
from datetime import timedelta
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

GRACE = int(os.environ.get("GRACE", "120"))
FOLDER = tempfile.TemporaryDirectory()

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    ALLOWED_HOSTS=["127.0.0.1"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(FOLDER.name, "grants.db")}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "to read"},
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": GRACE,
        "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    },
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from oauth2_provider.models import AccessToken, Application, RefreshToken  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402

logging.disable(logging.CRITICAL)
stats = {"granted": 0, "refused": 0}


@csrf_exempt
def token(request):
    answer = TokenView.as_view()(request)
    stats["granted" if answer.status_code == 200 else "refused"] += 1
    return answer


@csrf_exempt
def grants(request):
    application = Application.objects.get(client_id=os.environ["CLIENT_ID"])
    created = []
    with transaction.atomic():
        for _ in range(int(request.GET["count"])):
            user = User.objects.create(username=secrets.token_hex(8))
            access = AccessToken.objects.create(
                user=user,
                application=application,
                token=secrets.token_urlsafe(30),
                expires=timezone.now() + timedelta(hours=1),
                scope="read",
            )
            refresh = RefreshToken.objects.create(
                user=user, application=application, access_token=access, token=secrets.token_urlsafe(30)
            )
            created.append(refresh.token)
    return JsonResponse(created, safe=False)


urlpatterns = [
    path("o/token/", token),
    path("_grants", grants),
    path("_stats", lambda _: JsonResponse(stats)),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


call_command("migrate", verbosity=0)
with connection.cursor() as cursor:
    # Nothing here has to survive.
    cursor.execute("PRAGMA synchronous = OFF")
Application.objects.create(
    name="vault",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    hash_client_secret=False,
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    redirect_uris="https://client.example/callback",
)
server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
threading.Thread(target=end_with_the_test, daemon=True).start()
print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
