//! What the developers' pages say around the description. The description itself is in English.
web::words! {
    /// Words of the developers' pages.
    pub(super) struct DeveloperWords {
        title: "API for developers", "开发者接口";
        lead: "Everything a channel can ask for, made from the running program. Other programs read it as OpenAPI 3.1.", "渠道可以调用的全部接口，由运行中的程序生成。程序可读取 OpenAPI 3.1 描述文件。";
        english: "The descriptions are in English.", "接口说明为英文。";
        document: "OpenAPI document", "OpenAPI 描述文件";
        begin: "In short", "使用要点";
        begin_address: "Address", "接口地址";
        begin_session: "Log in with a one-time code; send the access token as Authorization: Bearer.", "用短信验证码登录，之后以 Authorization: Bearer 携带访问令牌。";
        begin_write: "Every write carries an Idempotency-Key. Sent again under the same key, it is done once. It is answered 202 with a Location, or with Prefer: wait=5 by its result.", "每次写入都带 Idempotency-Key；同一个键重复提交只执行一次。默认返回 202 和 Location；带 Prefer: wait=5 时等待并返回结果。";
        begin_read: "Reads carry an ETag: ask with If-None-Match, and what has not changed is 304. Present the Consistency-Token of the last answer, and nothing older is shown.", "查询结果带 ETag，用 If-None-Match 再次查询，未变化时返回 304。带上最近一次应答的 Consistency-Token，不会看到更旧的数据。";
        begin_units: "Amounts are integer fen, energy is integer Wh, moments are Unix milliseconds.", "金额单位为分，电量单位为瓦时，均为整数；时刻为 Unix 毫秒。";
        open: "no session needed", "无需登录";
        problems: "Problem codes", "错误代码";
        problems_lead: "Every refusal is a problem document (RFC 9457). Go by its code.", "每次拒绝都返回问题文档（RFC 9457），请以其中的 code 为准。";
        parameters: "Parameters", "参数";
        try_it: "With curl", "用 curl 调用";
        reply: "Reply", "应答";
        shapes: "Fields", "字段";
        answers: "Answers", "可能的应答";
        required: "required", "必填";
        back: "All operations", "全部接口";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_whole() {
        assert_eq!(web::words::check(DeveloperWords::PAIRS, &[]), Vec::<String>::new());
    }
}
