// The form that asks for the admin token. The token goes to the server once and is kept nowhere here.

import * as api from "./api.js";
import { byId } from "./dom.js";

/** Sets the form up; `done` is called once the server took the token. */
export function setUpLogin(done) {
  const problem = byId("login-problem");
  const token = byId("token");
  byId("login-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      await api.login(token.value);
    } catch (error) {
      problem.textContent = error.status === 401 ? "This is not the token of [admin]." : error.message;
      problem.hidden = false;
      token.select();
      return;
    }
    token.value = "";
    done();
  });
  return {
    show() {
      byId("login").hidden = false;
      token.focus();
    },
    hide() {
      byId("login").hidden = true;
    },
  };
}
