//! What the pages about files to take away say.
web::words! {
    /// Words of exports and invoices.
    pub(in crate::portal) struct ExportWords {
        title: "Downloads", "下载";
        lead: "Take your use with you as a file. It is made in a moment and kept for some days.", "将用电数据导出为文件，稍候即可下载，文件保留数日。";
        link: "Download", "下载用电数据";
        ask_title: "New file", "新建导出";
        kind: "What kind of file?", "文件格式";
        csv: "Use as a table (CSV)", "用电明细表（CSV）";
        csv_hint: "For Excel and other spreadsheets, hour by hour.", "可用 Excel 等表格软件打开，按小时列出。";
        green: "Green Button (XML)", "绿色按钮数据（XML）";
        green_hint: "For programs that read Green Button files.", "供支持 Green Button 标准的软件读取。";
        from: "First day", "起始日期";
        to: "Last day", "结束日期";
        make: "Make the file", "生成文件";
        list_title: "Your files", "导出记录";
        none: "No files yet", "暂无文件";
        none_lead: "Files you ask for appear here, and electronic invoices of paid bills.", "您导出的文件和已缴账单的电子发票会显示在这里。";
        invoice: "Electronic invoice (sample)", "电子发票（样例）";
        invoice_of: "Electronic invoice (sample), {0}", "{0}电子发票（样例）";
        invoice_lead: "The tax platform is simulated here: the file is marked as a sample and is no tax document.", "税务平台为模拟环境，文件标注“样例”，不作为税务票据。";
        days: "{0} to {1}", "{0}至{1}";
        making: "Being made", "生成中";
        ready: "Ready", "可下载";
        failed: "Not made", "生成失败";
        expired: "Expired", "已过期";
        until: "until {0}", "{0}前可下载";
        asked: "asked for {0}", "{0}申请";
        download: "Download", "下载";
        wait: "The file is there in a moment; this page shows it by itself.", "文件即将生成，本页会自动更新。";
        why_no_readings: "There are no readings in these days. Choose others.", "所选日期内没有用电数据，请更换日期。";
        why_not_paid: "The bill is not wholly paid any more.", "该期账单尚未结清。";
        why_too_large: "It would be too long. Choose fewer months.", "数据量过大，请缩短日期范围。";
        why_our_side: "Something went wrong on our side. Please ask for it again.", "系统原因未能生成，请重新申请。";
        expired_lead: "It is not kept any more. Ask for a new one.", "文件已清除，如需使用请重新生成。";
        wrong_days: "Choose a first and a last day, at most 37 months apart. Nothing was begun.", "请选择起始和结束日期，跨度不超过 37 个月。未生成文件。";
        wrong_invoice: "There is no invoice for this bill now: it is not wholly paid, or you have as many files as one may have. Nothing was begun.", "暂不能开具：账单尚未结清，或导出文件已达上限。未生成文件。";
        wrong_too_many: "No file can be made now: you have as many as one may have at once. Take those that are there, or wait until some expire.", "暂不能生成：导出文件已达上限，请下载现有文件或待其过期后再试。";
    }
}
