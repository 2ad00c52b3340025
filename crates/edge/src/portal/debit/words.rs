//! What the pages about automatic debit and refunds say.
web::words! {
    /// Words of automatic debit and refunds.
    pub(in crate::portal) struct DebitWords {
        title: "Automatic debit", "自动缴费";
        lead: "Bills are debited some days before they are due. You are told if one could not be, and you can end it whenever you like.", "电费到期前几天自动扣款，扣款失败会通知您，可随时解约。";
        off: "Not set up", "未开通";
        on: "On", "已开通";
        unsigned: "Waiting for your signature", "待签约";
        unsigned_lead: "You have still to agree at the payment provider, by {0}. Nothing is debited before.", "请在 {0} 前前往支付平台完成签约，签约前不会扣款。";
        sign: "Go there and sign", "前往签约";
        withdraw: "Leave it", "放弃签约";
        not_signed: "It was not signed in time. You can begin anew.", "未在规定时间内签约，可重新办理。";
        ended_here: "You ended it on {0}. Nothing is debited any more.", "您已于 {0} 解约，不再自动扣款。";
        ended_there: "It was ended at the payment provider on {0}. Nothing is debited any more.", "已于 {0} 在支付平台解约，不再自动扣款。";
        ended_unbound: "It ended on {0}, when the account went off your list.", "户号解绑后，自动缴费已于 {0} 终止。";
        by_another: "Another person who has this account on their list pays it by automatic debit.", "该户号已由其他绑定用户开通自动缴费。";
        another_begins: "Another person who has this account on their list is just setting it up. If they do not finish, you can set it up in half an hour.", "另一位绑定该户号的用户正在开通自动缴费。若其未完成，您可在半小时后开通。";
        limit: "At most at once", "单笔限额";
        limit_hint: "If more than this is due at once, nothing is debited; you are told and pay it yourself.", "到期应缴总额超过限额时不会自动扣款，将通知您自行缴费。";
        via: "Pay with", "支付方式";
        set_up: "Set up automatic debit", "开通自动缴费";
        set_up_safe: "You go to the payment provider and agree there. Nothing is debited before.", "将前往支付平台签约，签约前不会扣款。";
        due_now: "{0} is owed. What of it is overdue, or due within the next days, is debited as soon as you have signed.", "当前应缴 {0}。其中已逾期或即将到期的部分，将在签约后立即扣款。";
        next: "Next debit", "下次扣款";
        next_none: "Nothing is owed. The next bill is debited some days before it is due.", "当前无欠费，下期账单将在到期前自动扣款。";
        running: "A debit is under way.", "正在扣款。";
        running_still: "A debit that was under way may still be made.", "已在进行的扣款仍可能完成。";
        running_pay: "An automatic debit is under way for this account. What you pay as well becomes credit.", "该户号正在自动扣款，再次缴费将转为账户余额。";
        running_see: "Look at it", "查看";
        failed: "The last debit, of {0} on {1}, was not made: {2}", "最近一次扣款（{1}，{0}）未成功：{2}";
        again: "It is tried again on {0}.", "将于 {0} 再次扣款。";
        pay_self: "Please pay it yourself; the next bill is debited again.", "请自行缴费，下期账单将继续自动扣款。";
        since: "Since", "开通时间";
        end: "End automatic debit", "解约";
        end_lead: "Nothing is debited from then on, but for what is under way.", "解约后不再扣款（正在扣款的除外）。";
        why_over_limit: "more than the limit.", "超过单笔限额。";
        why_no_answer: "the payment provider did not answer.", "支付平台未响应。";
        why_funds: "there was not enough money.", "余额不足。";
        why_limit: "more than your bank allows at once.", "超过银行单笔限额。";
        why_ended: "you have ended it there.", "您已在支付平台解约。";
        why_closed: "your account there is closed or blocked.", "付款账户已注销或冻结。";
        why_other: "the payment provider gave no reason.", "支付平台未说明原因。";

        tag: "Automatic debit", "自动缴费";
        open: "Being debited", "扣款中";
        open_lead: "The payment provider has been told to debit you. This page turns to “paid” by itself.", "已通知支付平台扣款，成功后本页自动更新。";
        not_made: "Not debited", "扣款未成功";
        not_made_lead: "Nothing was taken: {0}", "未扣款：{0}";
        state_failed: "Not debited", "扣款未成功";

        refund_title: "Credit from this payment", "本次缴费转入的余额";
        refund_lead: "{0} of this payment is kept as credit and pays your next bills by itself. You can also have it back, the way you paid.", "本次缴费有 {0} 转为账户余额，将自动抵扣后续电费。也可申请原路退回。";
        refund_amount: "Amount to have back", "退款金额";
        refund_ask: "Have it back", "申请退款";
        refund_wrong: "Write an amount in yuan, at most {0}.", "请输入金额，不超过 {0}。";
        refunds: "Sent back", "退款记录";
        refund_under_way: "On its way", "退款中";
        refund_done: "Back with you", "已退回";
        refund_failed: "Could not be sent back; it is credit again", "退款失败，已恢复为账户余额";

        message_refund_done: "{0} went back to you", "已退回 {0}";
        message_refund_failed: "{0} could not be sent back and is credit again", "{0} 退款失败，已恢复为账户余额";
        message_signed: "Automatic debit is on", "自动缴费已开通";
        message_ended: "Automatic debit has ended", "自动缴费已终止";
        message_failed: "A debit of {0} was not made", "自动扣款 {0} 未成功";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_whole() {
        assert_eq!(web::words::check(DebitWords::PAIRS, &[]), Vec::<String>::new());
    }
}
