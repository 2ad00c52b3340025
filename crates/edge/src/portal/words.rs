//! Everything the portal says, in English and 简体中文.
use web::words;

words! {
    /// The portal's words. Chinese is written as a utility writes it, not translated word by word.
    pub struct Words {
        brand: "Gridesk", "Gridesk 电力服务";
        nav_home: "Home", "首页";
        nav_bills: "Bills", "电费账单";
        nav_usage: "Usage", "用电量";
        nav_payments: "Payments", "缴费记录";
        nav_me: "Me", "我的";
        nav_label: "Main", "主导航";
        switch_language: "中文", "English";
        larger_type: "Large type", "大字版";
        account: "Account", "户号";
        accounts: "Your accounts", "我的户号";
        account_add: "Add an account", "绑定户号";
        log_in: "Log in", "登录";
        log_out: "Log out", "退出登录";
        footer: "All times are China Standard Time. 1 kWh is 1 kilowatt-hour.", "时间均为北京时间。1 度等于 1 千瓦时。";

        login_title: "Log in", "登录";
        login_lead: "See what you owe, what you used, and pay.", "查电费、看用电、缴电费。";
        login_phone: "Mobile number", "手机号码";
        login_phone_hint: "We send you a six-digit code by text message.", "我们将以短信发送 6 位验证码。";
        login_send: "Send the code", "获取验证码";
        login_phone_wrong: "A mobile number has eleven digits and begins with 1. Please check it.", "手机号码为 1 开头的 11 位数字，请核对。";
        code_title: "Enter the code", "输入验证码";
        code_lead: "We sent a code to {0}. It is good for {1} minutes.", "验证码已发送至 {0}，{1} 分钟内有效。";
        code_label: "Six-digit code", "6 位验证码";
        code_resend: "Send another code", "重新发送验证码";
        code_other_phone: "Use another number", "更换手机号码";
        code_wrong: "That code is not right. Check the newest message and try again.", "验证码不正确，请核对最新一条短信后重试。";
        code_form: "The code has six digits.", "验证码为 6 位数字。";
        code_expired: "That code has expired. Ask for another.", "验证码已过期，请重新获取。";
        code_attempts: "Too many wrong codes. Ask for another one.", "输错次数过多，请重新获取验证码。";
        too_often: "Too many requests. Please wait {0} seconds and try again. Nothing was done.", "操作过于频繁，请 {0} 秒后再试。本次操作未生效。";
        demo_hint: "This is a demonstration: text messages appear in the", "当前为演示系统，短信请到此查看：";
        demo_inbox: "message inbox", "短信收件箱";
        continue_button: "Continue", "继续";
        session_over: "Your session has ended. Log in again to go on; nothing was lost.", "登录已失效，请重新登录后继续，您的数据不受影响。";

        home_title: "Home", "首页";
        home_no_account: "No account yet", "尚未绑定户号";
        home_no_account_lead: "Add your electricity account to see bills and usage and to pay. The account number is on every bill.", "绑定户号后即可查询账单、用电量并缴费。户号可在任意一张电费账单上找到。";
        owe: "To pay", "应缴电费";
        owe_nothing: "Nothing to pay", "暂无欠费";
        owe_nothing_lead: "Everything is paid. Thank you.", "电费已结清，感谢您按时缴费。";
        owe_no_bill: "There is no bill for this account yet.", "该户号暂无账单。";
        credit: "{0} stands to your credit and goes towards the next bill.", "账户余额 {0}，将自动抵扣下期电费。";
        pay_until: "You can pay until {0}.", "请于 {0}前缴费。";
        overdue_by: "{0} of this is past its date. Please pay soon.", "其中 {0} 已逾期，请尽快缴纳。";
        overdue_all: "It was due on {0}. Please pay soon.", "缴费期限为 {0}，已逾期，请尽快缴纳。";
        pay: "Pay", "立即缴费";
        pay_ahead: "Pay in advance", "预缴电费";
        see_bill: "See the bill", "查看账单";
        this_month: "This month so far", "本月用电";
        through: "through {0}", "截至{0}";
        no_readings: "No readings for this month yet.", "本月暂无用电数据。";
        same_days_last_month: "Last month, same days", "上月同期";
        same_days_last_year: "Last year, same days", "去年同期";
        now_so_far: "This month", "本月至今";
        more_than_last_month: "{0}% more than in the same days of last month.", "比上月同期多用 {0}%。";
        less_than_last_month: "{0}% less than in the same days of last month.", "比上月同期少用 {0}%。";
        same_as_last_month: "About the same as in the same days of last month.", "与上月同期基本持平。";
        tier_title: "Your price tier", "阶梯电价";
        tier_n: "Tier {0}", "第{0}档";
        tier_left: "{0} left before the price rises to {1}.", "距下一档还有 {0}，之后电价升至 {1}。";
        tier_last: "You are in the highest tier; it has no limit.", "当前为最高档，不再设上限。";
        tier_used: "{0} used so far.", "累计已用 {0}。";
        tier_none: "Every kWh costs the same; your tariff has no tiers.", "您的电价不分档，每度电价格相同。";
        tier_resets: "Counting starts again on {0}.", "{0}起重新计算。";
        tier_price_now: "Now {0}", "当前电价 {0}";
        tier_price_tou: " (peak price)", "（峰段电价）";
        by_day: "See it day by day", "查看每日用电";

        bind_title: "Add an account", "绑定户号";
        bind_lead: "Show that the account is yours: with a code sent to its registered phone, or with its latest bill.", "请验证户号归属：向该户登记手机发送验证码，或核对最近一期账单。";
        bind_number: "Account number", "户号";
        bind_number_hint: "Thirteen digits, at the top of every bill.", "13 位数字，见电费账单上方。";
        bind_number_wrong: "This is not an account number: it has 13 digits, and one of them may be mistyped.", "户号为 13 位数字，请核对是否有误。";
        bind_how: "How do you want to show it?", "验证方式";
        bind_by_code: "Code to the registered phone", "登记手机验证码";
        bind_by_bill: "Month and amount of the latest bill", "最近一期账单的月份和金额";
        bind_code_lead: "A code is on its way to the phone registered with account {0}: {1}.", "验证码已发送至户号 {0} 的登记手机 {1}。";
        bind_code_lead_unnamed: "If a phone is registered with account {0}, a code is on its way to it. If none comes, use the latest bill instead.", "如户号 {0} 已登记手机，验证码将发送至该手机。如未收到，请改用最近一期账单验证。";
        bind_month: "Month of the latest bill", "最近一期账单月份";
        bind_month_hint: "As 2026-08.", "例如 2026-08。";
        bind_month_wrong: "Write the month as 2026-08.", "请按 2026-08 的格式填写月份。";
        bind_amount: "Amount of that bill", "该期账单金额";
        bind_proof_wrong: "That does not fit the account. Nothing was changed. Check the number and the latest bill.", "与户号信息不符，未作任何更改。请核对户号和最近一期账单。";
        bind_button: "Add this account", "确认绑定";

        bills_title: "Bills", "电费账单";
        bills_none: "No bills yet", "暂无账单";
        bills_none_lead: "The first bill appears here after the first full month.", "首个完整用电月结束后，账单会显示在这里。";
        bills_older: "Older bills", "更早的账单";
        bills_newest: "Newest bills", "最近的账单";
        state_open: "To pay", "待缴";
        state_overdue: "Overdue", "已逾期";
        state_paid: "Paid", "已缴";
        bill_title: "Bill for {0}", "{0}电费账单";
        bill_period: "{0} to {1}", "{0}至{1}";
        bill_days: "{0} days", "共 {0} 天";
        bill_issued: "Issued on {0}", "{0}出账";
        bill_paid_part: "{0} of it is paid, {1} is left.", "已缴 {0}，还应缴 {1}。";
        bill_paid_all: "Paid in full. Nothing is left to pay.", "本期电费已结清。";
        bill_due: "You can pay until {0}.", "请于 {0}前缴费。";
        bill_was_due: "It was due on {0}. Please pay soon.", "缴费期限为 {0}，已逾期，请尽快缴纳。";
        why_title: "Why it differs", "电费变化原因";
        why_more: "{0} more than the bill for {1}.", "比{1}账单多 {0}。";
        why_less: "{0} less than the bill for {1}.", "比{1}账单少 {0}。";
        why_same: "The same amount as the bill for {0}.", "与{0}账单金额相同。";
        why_used_more: "You used {0} more ({1}).", "多用电 {0}（{1}）。";
        why_used_less: "You used {0} less ({1}).", "少用电 {0}（{1}）。";
        why_new_year: "Yearly tiers count anew from January, so the lowest price applies again.", "年度阶梯自 1 月起重新计算，电价回到第一档。";
        why_crossed: "Your use passed the limit of {0}.", "累计用电超过 {0}的阶梯上限。";
        why_adds: "adds {0}", "电费增加 {0}";
        why_saves: "saves {0}", "电费减少 {0}";
        why_days: "It covers {0} days instead of {1}, which {2}.", "计费天数为 {0} 天（对比期 {1} 天），{2}。";
        why_daily: "You used {0} a day instead of {1}, which {2}.", "日均用电 {0}（对比期 {1}），{2}。";
        why_at_more: ", at {0} more per kWh", "，每度加价 {0}";
        why_tier_new: "{0} of it fell into {1}{2}, which {3}.", "其中 {0}进入{1}{2}，{3}。";
        why_tier: "{0} of it fell into {1} instead of {2}{3}, which {4}.", "其中 {0}进入{1}（对比期 {2}）{3}，{4}。";
        why_tier_none: "Nothing fell into {0} (before: {1}){2}, which {3}.", "没有电量进入{0}（对比期 {1}）{2}，{3}。";
        why_mix: "{0} of it was used in {1} instead of {2}, which {3}.", "{1}用电占 {0}（对比期 {2}），{3}。";
        why_price: "Prices changed ({0}), which {1}.", "电价调整（{0}），{1}。";
        why_tariff: "The price plan is another: a kWh cost {0} on average instead of {1}, which {2}.", "电价方案不同，平均每度 {0}（对比期 {1}），{2}。";
        why_rounding: "Rounding to the fen: {0}.", "四舍五入差额 {0}。";
        why_numbers: "The difference in numbers", "差额明细";
        why_numbers_note: "The parts sum to the difference. Energy is valued at the other bill's lowest tier; what a higher tier costs beyond it has its own row.", "各项之和即为差额。电量按对比账单的最低档电价计算，高档加价单独列示。";
        why_reason: "Reason", "原因";
        why_against: "Against {0}", "与{0}相比";
        part_days: "Number of days", "计费天数";
        part_daily: "Use a day", "日均用电";
        part_mix: "Hours of use", "峰谷结构";
        part_price: "Prices", "电价调整";
        part_tariff: "Price plan", "电价方案";
        part_rounding: "Rounding", "四舍五入";
        lines_title: "How the amount comes about", "费用明细";
        lines_tiers: "Energy by tier", "分档电费";
        lines_periods: "Energy by time of use, at tier-1 prices", "分时电费（按第一档电价）";
        lines_surcharge: "Surcharge for energy in higher tiers", "阶梯加价";
        lines_subtotal: "Subtotal", "小计";
        lines_total: "Total", "合计";
        tier_up_to: "{0}, up to {1}", "{0}（{1}及以内）";
        tier_between: "{0}, {1} to {2}", "{0}（{1} 至 {2}）";
        tier_over: "{0}, over {1}", "{0}（{1}以上）";
        tier_only: "All energy", "全部电量";
        period_sharp: "Sharp peak hours", "尖段";
        period_peak: "Peak hours", "峰段";
        period_flat: "Flat hours", "平段";
        period_valley: "Valley hours", "谷段";
        surcharge_of: "{0} surcharge", "{0}加价";
        surcharge_of_period: "{0} surcharge, {1}", "{0}加价（{1}）";
        line_pro_rata: "Split over peak and valley in proportion to the month's use.", "按本月峰谷用电比例分摊。";
        check_title: "Check it yourself", "自己算一算";
        check_rule: "Each line is energy × price, rounded half up to the fen. The bill is the sum of its lines.", "每行电费＝电量×电价，四舍五入到分。账单金额为各行之和。";
        check_tiers: "Before this bill {0} were used in the tier period; with it, {1}.", "本期之前阶梯累计用电 {0}，本期之后 {1}。";
        history_title: "Thirteen months", "近 13 个月电费";
        history_desc: "Amounts from {0} to {1}. This bill: {2}. Highest: {3} in {4}.", "{0}至{1}的电费。本期 {2}，最高为{4}的 {3}。";
        whatif_title: "What if: another tariff", "换一种电价会怎样";
        whatif_lead: "The same use in the same hours, billed both ways.", "同样的用电、同样的时段，按两种电价分别计算。";
        whatif_this: "This bill", "本期账单";
        whatif_other: "Other tariff", "另一种电价";
        whatif_saves: "With the other tariff this month would have cost {0} less.", "若采用另一种电价，本期可少付 {0}。";
        whatif_costs: "With the other tariff this month would have cost {0} more.", "若采用另一种电价，本期将多付 {0}。";
        whatif_equal: "It would have cost the same.", "两种电价费用相同。";
        whatif_lines: "The other bill, line by line", "另一种电价的明细";
        hours_title: "When you used it", "一天中的用电分布";
        hours_desc: "Use by hour of the day over the month. Most in the hour from {0}: {1}.", "本月各时段用电量。{0}起的一小时最多，为 {1}。";
        basis_title: "How it is computed", "计费依据";
        basis_tariff: "Tariff", "执行电价";
        basis_source: "Published in", "公布来源";
        basis_from: "In force since", "执行日期";
        basis_from_unknown: "The date is not confirmed", "日期未经核实";
        basis_source_dated: "{0}, dated {1}", "{0}（{1}）";
        basis_note: "Please note", "说明";
        basis_limits: "Tier limits", "阶梯上限";
        basis_number: "Bill number", "账单编号";

        usage_title: "Usage", "用电量";
        usage_lead: "{0} in {1}", "{1}用电 {0}";
        usage_previous: "Previous month", "上一月";
        usage_next: "Next month", "下一月";
        usage_none: "No readings for {0}", "{0}暂无用电数据";
        usage_none_lead: "Choose another month, or look again tomorrow: readings arrive once a day.", "请选择其他月份，或明天再来查看，数据每日更新。";
        usage_last_known: "Go to the last month with readings", "查看最近有数据的月份";
        usage_chart: "Use per day, {0}", "{0}每日用电";
        usage_desc: "{0} days with readings, {1} in all. Most on {2}: {3}.", "有数据 {0} 天，合计 {1}，{2}最多，为 {3}。";
        usage_average: "A day, on average", "日均";
        usage_highest: "Highest day", "最高日";
        usage_peak_share: "Peak hours", "峰段";
        usage_valley_share: "Valley hours", "谷段";
        usage_tap: "Choose a day to see its hours.", "点选某一天查看分时用电。";
        usage_day: "{0}, hour by hour", "{0}分时用电";
        usage_day_desc: "Use per hour on {0}: {1} in all, most in the hour from {2}.", "{0}每小时用电，合计 {1}，{2}起的一小时最多。";
        usage_no_hours: "For this day only the total was read: {0}.", "当日仅有总电量：{0}。";
        usage_day_before: "Day before", "前一天";
        usage_day_after: "Day after", "后一天";
        usage_estimated: "Partly estimated", "含估算数据";
        usage_estimated_note: "Part of this was estimated or is missing.", "部分数据为估算或缺失。";

        pay_title: "Pay", "缴费";
        pay_amount: "Amount", "缴费金额";
        pay_due_hint: "{0} is due. You may pay another amount; what is more becomes credit.", "应缴 {0}。可修改金额，多缴部分转为账户余额。";
        pay_none_due_hint: "Nothing is due. What you pay becomes credit for the next bills.", "当前无欠费，所缴金额转为账户余额，抵扣后续电费。";
        pay_amount_wrong: "Write an amount in yuan, as 100 or 100.50, at most 10,000,000.", "请输入金额，如 100 或 100.50，不超过 10000000 元。";
        pay_for: "For", "户名";
        pay_address: "Address", "用电地址";
        pay_method: "Pay with", "支付方式";
        pay_sim: "Demonstration payment (no real money)", "演示支付（不产生真实扣款）";
        pay_confirm: "Confirm and pay", "确认缴费";
        pay_safe: "You pay at the payment provider. Pressing twice does not charge twice.", "将前往支付平台完成付款，重复点击不会重复扣款。";
        payment_title: "Payment", "缴费详情";
        payment_open: "Being processed", "处理中";
        payment_open_lead: "We are waiting for the payment provider's word. This page turns to “paid” by itself; you may also close it.", "正在等待支付平台确认，付款成功后本页自动更新，也可以先关闭页面。";
        payment_open_go: "Not paid yet? Go to the payment page", "尚未付款，前往支付页面";
        payment_open_until: "You can pay until {0}. If you do not, nothing is taken.", "请在 {0} 前完成付款。未付款则不会扣款。";
        payment_paid: "Paid", "缴费成功";
        payment_paid_lead: "Thank you. Your account shows it everywhere now.", "感谢您的缴费，各渠道均已更新。";
        payment_expired: "Not paid, and nothing was taken", "未付款，未扣款";
        payment_expired_lead: "The time for this payment has passed. You can start a new one.", "本次缴费已超时关闭，如需缴费请重新发起。";
        payment_again: "Pay again", "重新缴费";
        payment_ordered: "Ordered", "下单时间";
        payment_via: "Through", "支付渠道";
        payment_number: "Payment number", "缴费单号";
        receipt_title: "Receipt", "缴费凭证";
        receipt_number: "Receipt number", "凭证编号";
        receipt_paid_at: "Paid on", "缴费时间";
        receipt_transactions: "Transactions", "交易流水号";
        receipt_for: "What it paid", "缴费用途";
        receipt_bill: "Bill for {0}", "{0}电费";
        receipt_credit: "Kept as credit", "转入账户余额";
        receipt_twice: "The provider debited you {0} times. Nothing is lost: what was too much is your credit.", "支付平台共扣款 {0} 次，多扣部分已全部转入账户余额。";
        receipt_print: "Print", "打印";
        payments_title: "Payments", "缴费记录";
        payments_none: "No payments yet", "暂无缴费记录";
        payments_none_lead: "Payments made for this account appear here, with their receipts.", "该户号的缴费记录和凭证会显示在这里。";
        payment_state_open: "Being processed", "处理中";
        payment_state_paid: "Paid", "已缴";
        payment_state_expired: "Not paid", "未付款";

        me_title: "Me", "我的";
        me_bound: "Added on {0}", "{0}绑定";
        me_settings: "Settings", "设置";
        me_language: "Language", "语言";
        me_type: "Type size", "字体大小";
        me_type_normal: "Normal", "标准";
        me_type_large: "Large", "大字";
        me_show: "Show", "查看";
        me_current: "Shown now", "当前";

        working_title: "One moment", "正在处理";
        working_lead: "Your request was accepted and is kept safely. It is being carried out; this page goes on by itself.", "请求已受理并妥善保存，正在处理，完成后自动跳转。";
        working_again: "Look again", "刷新";

        error_not_found: "There is no such page", "页面不存在";
        error_not_found_lead: "It may have moved, or it is not yours to see. Nothing was changed.", "页面可能已移动，或您无权查看。未作任何更改。";
        error_busy: "Not available for the moment", "服务暂时不可用";
        error_busy_lead: "Your request did not get through. If you were paying or changing something, look at your payments before you try again: the same press is never done twice.", "请求未能送达。如您正在缴费或办理业务，请先查看缴费记录再重试，同一操作不会重复执行。";
        error_read_lead: "We could not fetch this page in time. Nothing was changed. It tries again by itself.", "未能及时取得数据，未作任何更改。页面将自动重试。";
        error_pending: "Your last change is still under way", "您的操作正在处理";
        error_pending_lead: "We do not show older data as current. This page tries again by itself.", "为避免显示过期数据，请稍候，页面将自动刷新。";
        error_form: "This form can no longer be used", "表单已失效";
        error_form_lead: "It was opened too long ago or in another window. Nothing was done. Go back, reload the page and try again.", "表单打开时间过长，或在其他窗口中打开。操作未生效，请返回刷新后重试。";
        error_refused: "That was not possible", "无法完成操作";
        error_refused_lead: "Nothing was changed.", "未作任何更改。";
        error_internal: "Something went wrong on our side", "系统出现异常";
        error_internal_lead: "It was logged and we look into it. If you were paying, look at your payments before you try again.", "问题已记录，我们会尽快处理。如您正在缴费，请先查看缴费记录再重试。";
        error_retry: "Try again", "重试";
        error_home: "Go to the home page", "返回首页";
        error_request: "Request {0}", "请求编号 {0}";
    }
}

/// A tier's name: `Tier 2`; `第二档`.
pub(super) fn tier_name(w: &Words, zh: bool, tier: u8) -> String {
    const ZH: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
    match ZH.get(usize::from(tier)) {
        Some(numeral) if zh => words::fill(w.tier_n, &[numeral]),
        _ => words::fill(w.tier_n, &[&tier]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        assert_eq!(words::check(Words::PAIRS, &["switch_language"]), Vec::<String>::new());
    }
}
