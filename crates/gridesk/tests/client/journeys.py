"""The first two journeys with a client that was generated from the API's description.

    journeys.py PORTAL SIM PHONE

The package `gridesk_client` is found by PYTHONPATH. Ends with status 1 and the reason where something is not as it should be.
"""

import sys
import time
import uuid

import httpx
from gridesk_client import AuthenticatedClient, Client
from gridesk_client.api.accounts import account_list, account_summary
from gridesk_client.api.bills import bill_get, bill_list
from gridesk_client.api.login import login_finish, login_start
from gridesk_client.api.payments import payment_create, payment_get, payment_list
from gridesk_client.models import (
    AccountList,
    AccountSummary,
    BillGet,
    BillList,
    LoginFinish,
    LoginFinishRequest,
    LoginStart,
    LoginStartRequest,
    PaymentCreate,
    PaymentCreateRequest,
    PaymentGet,
    PaymentList,
    Problem,
)

WAIT = "wait=10"
PROVIDER = "sim-pay"
RESULT_WITHIN_S = 20


def ensure(holds, what):
    if not holds:
        raise SystemExit(f"journeys.py: {what}")


def done(response, kind, status):
    """The reply, of the type that the description promises for the status."""
    ensure(
        response.status_code == status and isinstance(response.parsed, kind),
        f"{kind.__name__} expected, got {response.status_code} {response.content!r}",
    )
    return response.parsed


class Customer:
    def __init__(self, portal, sim, phone):
        self.sim, self.phone = sim, phone
        self.client = Client(base_url=portal)
        self.token = None

    def seen(self, response):
        """Keeps how far has been seen, and presents it with every later question."""
        self.token = response.headers.get("Consistency-Token", self.token)
        return response

    def ask(self, operation, kind, *args, status=200, **kwargs):
        if self.token:
            kwargs["consistency_token"] = self.token
        response = operation.sync_detailed(*args, client=self.client, **kwargs)
        return done(self.seen(response), kind, status)

    def log_in(self, portal):
        inbox = f"{self.sim}/inbox/messages?to={self.phone}"
        before = httpx.get(f"{inbox}&after=0").json()["next_after"]
        started = self.seen(
            login_start.sync_detailed(
                client=self.client,
                body=LoginStartRequest(phone=self.phone),
                idempotency_key=str(uuid.uuid4()),
                prefer=WAIT,
            )
        )
        challenge = done(started, LoginStart, 200).challenge
        messages = httpx.get(f"{inbox}&after={before}&wait_ms=15000", timeout=20).json()["messages"]
        ensure(messages, "no code came")
        finished = self.seen(
            login_finish.sync_detailed(
                client=self.client,
                body=LoginFinishRequest(challenge=challenge, code=messages[-1]["code"]),
                idempotency_key=str(uuid.uuid4()),
                prefer=WAIT,
            )
        )
        tokens = done(finished, LoginFinish, 200).tokens
        self.client = AuthenticatedClient(base_url=portal, token=tokens.access_token)

    def summary(self, account):
        return self.ask(account_summary, AccountSummary, account)

    def pay(self, account, amount_fen, key):
        return self.seen(
            payment_create.sync_detailed(
                account,
                client=self.client,
                body=PaymentCreateRequest(amount_fen=amount_fen, provider=PROVIDER),
                idempotency_key=key,
                prefer=WAIT,
            )
        )

    def settle(self, made, times):
        answer = httpx.post(
            f"{self.sim}/pay/orders/{made.payment}/settle",
            json={"url": made.pay_url, "times": times},
            timeout=60,
        ).json()
        for told in answer["callbacks"]:
            ensure(told["status"] == 200, f"a callback was answered {told}")
        return answer["callbacks"]


def bill_recomputes(customer, account):
    """Journey 1: the bill, and every fen of it."""
    months, before = [], None
    while True:
        page = {"limit": 5} if before is None else {"limit": 5, "before": before}
        bills = customer.ask(bill_list, BillList, account, **page)
        ensure(len(bills.bills) <= 5, "a page is longer than asked for")
        months += [brief.month for brief in bills.bills]
        before = bills.next_before
        if before is None:
            break
    ensure(len(months) > 5, f"{len(months)} bills: no second page")
    ensure(months == sorted(set(months), reverse=True), f"pages overlap or are out of order: {months}")
    newest = customer.ask(bill_list, BillList, account, limit=1).bills[0]
    bill = customer.ask(bill_get, BillGet, newest.bill)
    ensure(bill.lines, "the bill has no lines")
    for line in bill.lines:
        exact = line.energy_wh * line.price_e4
        ensure((exact + 50_000) // 100_000 == line.amount_fen, f"{line} does not recompute")
    total = sum(line.amount_fen for line in bill.lines)
    ensure(total == bill.bill.amount_fen, f"the lines sum to {total} of {bill.bill.amount_fen}")
    ensure(bill.bill == newest, "the list and the bill differ")
    return f"{newest.bill} of {total} fen in {len(bill.lines)} lines"


def paid_once(customer, account):
    """Journey 2: paid twice under one key, told twice, charged once."""
    before = customer.summary(account).balance
    amount = before.due_fen if before.due_fen > 0 else 10_000
    key = str(uuid.uuid4())
    first = done(customer.pay(account, amount, key), PaymentCreate, 201)
    again = done(customer.pay(account, amount, key), PaymentCreate, 201)
    ensure(first == again, f"the retry made another payment: {again}")
    other = done(customer.pay(account, amount + 1, key), Problem, 422)
    ensure(str(other.code) == "idempotency_mismatch", f"another body under the key: {other}")

    told = customer.settle(first, times=2)
    ensure(len(told) == 2 and told[0]["transaction"] == told[1]["transaction"], f"{told}")
    until = time.monotonic() + RESULT_WITHIN_S
    while True:
        payment = customer.ask(payment_get, PaymentGet, first.payment).payment
        if payment.receipt or time.monotonic() > until:
            break
        time.sleep(0.2)
    ensure(payment.receipt, "the payment is not paid in time")
    ensure(payment.receipt.paid_fen == amount, f"{payment.receipt.paid_fen} fen on the receipt, paid {amount}")
    ensure(payment.receipt.transactions == [told[0]["transaction"]], f"{payment.receipt.transactions}")
    after = customer.summary(account).balance
    moved = (before.due_fen - before.credit_fen) - (after.due_fen - after.credit_fen)
    ensure(moved == amount, f"the account moved by {moved} fen, paid were {amount}")
    listed = customer.ask(payment_list, PaymentList, account).payments
    ensure([one.payment for one in listed].count(first.payment) == 1, "the payment is not listed once")
    return f"{amount} fen once, receipt {payment.receipt.number}"


def main():
    portal, sim, phone = sys.argv[1:]
    customer = Customer(portal, sim, phone)
    refused = account_list.sync_detailed(client=customer.client)
    ensure(str(done(refused, Problem, 401).code) == "unauthenticated", "without a session")
    customer.log_in(portal)
    account = customer.ask(account_list, AccountList).accounts[0].account
    print("bill:", bill_recomputes(customer, account))
    print("payment:", paid_once(customer, account))


main()
