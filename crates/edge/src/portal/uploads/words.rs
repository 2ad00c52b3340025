//! What the pages about files say.
web::words! {
    /// Words of files.
    pub(in crate::portal) struct FileWords {
        title: "Files", "附件";
        hint: "{0}; at most {1} each, {2} files.", "支持 {0}，每个不超过 {1}，最多 {2} 个。";
        choose: "Choose a file", "选择文件";
        send: "Send the file", "上传附件";
        withdraw: "Withdraw", "撤回";
        none: "No files yet.", "暂无附件。";
        expected: "Not here yet", "待上传";
        receiving: "Arriving", "上传中";
        received: "Being checked", "检查中";
        for_a_person: "A person looks at it", "待人工审核";
        queued: "On its way in", "传送中";
        stored: "Received", "已收到";
        ended: "Not taken", "未接收";
        wrong_none: "Choose a file first.", "请先选择文件。";
        wrong_empty: "The file is empty.", "文件为空。";
        wrong_large: "The file is larger than {0}.", "文件超过 {0}。";
        wrong_name: "The file's name is too long, or has characters that cannot be taken. Rename it and send it again.", "文件名过长或含有无法使用的字符，请改名后重新上传。";
        wrong_quota: "You have as many files under way as one may have. Wait until some are through.", "您正在处理的附件过多，请稍后再传。";
        wrong_full: "There is no room for more files now. Try again in a few minutes.", "系统暂时无法接收附件，请稍后再试。";
        wrong_closed: "This request takes no more files: it is closed, or has as many as it may have.", "该工单已办结或附件数量已达上限，不能再上传附件。";
        wrong_broken: "The file did not arrive whole. Send it again.", "文件未能完整上传，请重试。";
        why_withdrawn: "You withdrew it.", "您已撤回。";
        why_expired: "It did not come in time.", "未在规定时间内上传。";
        why_lost: "It was lost on the way. Send it again, please.", "传送中丢失，请重新上传。";
        why_kind: "Files of this kind are not taken.", "不支持此类文件。";
        why_content: "It does not hold what its kind should, or holds more: open it, save it anew and send that.", "文件内容异常，请打开后另存再上传。";
        why_active: "It holds programs or scripts. Save it without macros and send that.", "文件含有宏或脚本，请去除后重新上传。";
        why_malware: "A virus scanner found something in it.", "病毒扫描发现异常。";
        why_locked: "It is locked with a password. Send it without.", "文件已加密，请取消密码后上传。";
        why_large: "It is too large.", "文件过大。";
        why_formula: "It has formulas in it.", "文件含有公式。";
        why_many: "The request has as many files as one may have.", "该工单的附件数量已达上限。";
        why_other: "It was not taken.", "未能接收。";
    }
}

impl FileWords {
    /// Why a file was not taken, in words: of a code, or as a person wrote it.
    pub(in crate::portal) fn why(&self, code: &str) -> String {
        let said = match code {
            "withdrawn" => self.why_withdrawn,
            "expired" => self.why_expired,
            "lost" => self.why_lost,
            "malware" => self.why_malware,
            "kind-not-allowed" | "kind-unknown" => self.why_kind,
            "too-large"
            | "picture-too-large"
            | "archive-too-big"
            | "archive-too-many-entries"
            | "archive-ratio" => self.why_large,
            "macro" | "script-in-pdf" | "active-content" | "external-entity" | "doctype" => self.why_active,
            "encrypted" | "archive-encrypted" => self.why_locked,
            "formula" => self.why_formula,
            "too-many-files" => self.why_many,
            "" | "refused" | "no-room" => self.why_other,
            // Another code of the audit: something about what it holds.
            code if code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') => self.why_content,
            words => words,
        };
        said.to_owned()
    }
}
