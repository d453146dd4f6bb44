"""A site to log in to with Flask-Login, whose visitors see where they are logged in, and end that elsewhere.

    MEMSESSIONS_SERVERS=127.0.0.1:11211 flask --app tests/examples/flask_app.py run

Log in from two browsers, as alice (password "wonderland") or as bob ("builder").
"""

from __future__ import annotations

from flask import Flask, Response, flash, redirect, render_template_string, request, url_for
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user
from werkzeug.wrappers import Response as AnyResponse

from memsessions import SessionEnded
from memsessions.flask import MemSessions, devices, end_device, end_other_devices

PASSWORDS = {"alice": "wonderland", "bob": "builder"}  # yours are hashed, and in your database

app = Flask(__name__)
app.config["MEMSESSIONS_APP"] = "example"
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # no other site can press this one's buttons
MemSessions(app)
login = LoginManager(app)
login.login_view = "log_in"


class User(UserMixin):
    """Whoever has a password."""

    def __init__(self, name: str) -> None:
        self.id = name


@login.user_loader
def load_user(name: str) -> User | None:
    return User(name) if name in PASSWORDS else None


@app.errorhandler(SessionEnded)
def ended(_error: SessionEnded) -> AnyResponse:
    """Somebody logged this visitor out, from another device, during this request."""
    return redirect(url_for("log_in"))


@app.route("/login", methods=["GET", "POST"])
def log_in() -> str | AnyResponse:
    if request.method == "POST":
        name = request.form.get("name", "")
        if name in PASSWORDS and request.form.get("password") == PASSWORDS[name]:
            login_user(User(name))
            return redirect(url_for("active_sessions"))
        flash("Wrong name or password.")
        return redirect(url_for("log_in"))
    return render_template_string(PAGE + LOGIN)


@app.get("/")
@login_required
def active_sessions() -> str:
    return render_template_string(PAGE + SESSIONS, devices=devices())


@app.post("/end")
@login_required
def end_one() -> AnyResponse:
    ended = end_device(request.form.get("handle", ""))
    flash("That session has ended." if ended else "That session had ended already.")
    return redirect(url_for("active_sessions"))


@app.post("/end-others")
@login_required
def end_others() -> AnyResponse:
    flash(f"Logged out in {end_other_devices()} other places.")
    return redirect(url_for("active_sessions"))


@app.post("/logout")
@login_required
def log_out() -> AnyResponse:
    logout_user()
    flash("You are logged out.")
    return redirect(url_for("log_in"))


@app.after_request
def not_kept_by_browsers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"  # or "back" shows the list after a log-out
    return response


PAGE = """
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ "Your active sessions" if current_user.is_authenticated else "Log in" }}</title>
<style>
  body { font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ccc }
  .message { background: #ffd; padding: .4rem .6rem }
</style>
{% for message in get_flashed_messages() %}<p class="message" role="status">{{ message }}</p>{% endfor %}
"""

LOGIN = """
<h1>Log in</h1>
<form method="post">
  <p><label>Name <input name="name" autocomplete="username" required autofocus></label></p>
  <p><label>Password <input name="password" type="password" required></label></p>
  <p><button id="log-in">Log in</button></p>
</form>
"""

SESSIONS = """
<h1>Your active sessions</h1>
<form method="post" action="{{ url_for('log_out') }}">
  <p>Logged in as <strong id="user">{{ current_user.id }}</strong>. <button id="log-out">Log out</button></p>
</form>
<table id="sessions">
  <thead><tr><th>Address</th><th>Idle</th><th>Last seen</th><th></th></tr></thead>
  <tbody>
  {% for device in devices %}
    <tr class="{{ 'current' if device.current else 'other' }}">
      <td>{{ device.ip }}</td>
      <td>{{ device.idle }} s</td>
      <td><time datetime="{{ device.last_seen }}">{{ device.last_seen }}</time></td>
      <td>
      {% if device.current %}this one{% else %}
        <form method="post" action="{{ url_for('end_one') }}">
          <button class="end" name="handle" value="{{ device.handle }}">End it</button>
        </form>
      {% endif %}
      </td>
    </tr>
  {% endfor %}
  </tbody>
</table>
<form method="post" action="{{ url_for('end_others') }}">
  <p><button id="end-others">Log out everywhere else</button></p>
</form>
"""
