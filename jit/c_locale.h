// SPDX-License-Identifier: Apache-2.0
// The C locale for the calling thread, while this object lives: a host that prints decimal commas
// must not change how a vendor compiler reads or writes numbers.
#pragma once

#include <locale.h>

namespace kiln {

class CLocale {
 public:
  CLocale() : locale_(newlocale(LC_ALL_MASK, "C", nullptr)) {
    if (locale_) previous_ = uselocale(locale_);
  }
  ~CLocale() {
    if (!locale_) return;
    uselocale(previous_);
    freelocale(locale_);
  }
  CLocale(const CLocale&) = delete;
  CLocale& operator=(const CLocale&) = delete;

 private:
  locale_t locale_;
  locale_t previous_ = nullptr;
};

}  // namespace kiln
