//! What the auditor's pages say.
use protocol::{bounds::ShortName, catalogue::replies::RequestKind};

use crate::files::{About, Stage};

web::words! {
    /// Words of the audit.
    pub(super) struct AuditWords {
        title: "File audit", "附件审核";
        login_lead: "For staff. Your account comes from the service center.", "仅限工作人员，账号由服务中心统一管理。";
        login_name: "Name", "账号";
        login_password: "Password", "密码";
        login: "Log in", "登录";
        login_wrong: "Name or password is wrong.", "账号或密码错误。";
        login_role: "This account is no auditor's.", "该账号没有审核权限。";
        login_revoked: "Your log-in was ended by an administrator. What you had not decided was not done.", "您的登录已被管理员终止，未提交的处理没有生效。";
        logout: "Log out", "退出";
        who: "Logged in as", "当前账号";
        waiting: "Waiting for you", "待审核";
        waiting_none: "Nothing waits for a person.", "暂无待审核附件。";
        all: "Files here", "附件统计";
        state: "State", "状态";
        files: "Files", "数量";
        bytes: "Size", "大小";
        gates: "Gates", "隔离网闸";
        gate: "Gate", "网闸";
        gate_there: "connected", "已连接";
        gate_away: "away", "未连接";
        gate_leaves: "being taken away", "退出中";
        gate_waiting: "waiting", "等待";
        gate_crossing: "crossing", "传送中";
        gate_stored: "stored", "已入库";
        gate_refused: "refused", "已拒绝";
        gate_postponed: "postponed", "已推迟";
        gates_none: "No gate is there.", "暂无网闸。";
        kind: "Kind, by its content", "类型（按内容识别）";
        request: "Request", "工单";
        request_kind: "Kind of request", "工单类型";
        kind_fault: "Fault report", "故障报修";
        kind_consult: "Consultation", "咨询";
        kind_complaint: "Complaint", "投诉";
        kind_suggestion: "Suggestion", "建议";
        channel: "Channel", "渠道";
        hash: "BLAKE3", "BLAKE3";
        why: "Why a person is asked", "转人工原因";
        look: "What it holds", "内容";
        look_cut: "Only the beginning is shown.", "仅显示开头部分。";
        look_download: "Save it to look at it", "下载后查看";
        look_download_lead: "It is not opened here. Look at it only in a program that runs nothing.", "此处不直接打开，请使用不会执行内容的程序查看。";
        look_gone: "Its bytes are no longer here.", "内容已不在本机。";
        approve: "Let it pass", "通过";
        refuse: "Refuse it", "拒绝";
        refuse_why: "Why (the customer reads this)", "拒绝原因（客户可见）";
        why_wrong: "Write why, in at most 200 bytes.", "请填写原因（不超过 200 字节）。";
        too_late: "It was decided meanwhile.", "该附件已处理。";
        trail: "What was decided", "处理记录";
        did_pass: "Passed", "通过";
        did_ask: "Given to a person", "转人工";
        did_refuse: "Refused", "拒绝";
        did_withdraw: "Withdrawn", "撤回";
        did_expire: "Expired", "超时";
        did_lose: "Lost", "丢失";
        did_store: "Stored inside", "已入库";
        stage_receiving: "Arriving", "上传中";
        stage_received: "Being checked", "检查中";
        stage_for_a_person: "For a person", "待人工审核";
        stage_queued: "On the way in", "传送中";
        stage_stored: "Stored", "已入库";
        stage_ended: "Not taken", "未接收";
    }
}

impl AuditWords {
    /// A decision in words; as it stands where it is of another version.
    pub(super) fn decision<'a>(&'a self, what: &'a str) -> &'a str {
        match what {
            "passed" => self.did_pass,
            "to-a-person" => self.did_ask,
            "refused" => self.did_refuse,
            "withdrawn" => self.did_withdraw,
            "expired" => self.did_expire,
            "lost" => self.did_lose,
            "stored" => self.did_store,
            other => other,
        }
    }

    /// What a request is, with the form it was made by; empty where that is not known.
    pub(super) fn about(&self, about: &About) -> String {
        let kind = about.kind.map(|kind| match kind {
            RequestKind::Fault => self.kind_fault,
            RequestKind::Consult => self.kind_consult,
            RequestKind::Complaint => self.kind_complaint,
            RequestKind::Suggestion => self.kind_suggestion,
        });
        let form = about.form.as_ref().map(ShortName::as_str);
        kind.into_iter().chain(form).collect::<Vec<_>>().join(" · ")
    }

    /// A stage in words.
    pub(super) fn stage(&self, stage: Stage) -> &'static str {
        match stage {
            Stage::Receiving => self.stage_receiving,
            Stage::Received => self.stage_received,
            Stage::ForAPerson => self.stage_for_a_person,
            Stage::Queued => self.stage_queued,
            Stage::Stored => self.stage_stored,
            Stage::Ended => self.stage_ended,
        }
    }
}
