# zsh_completions.zsh FOLDER LINE...: what an interactive zsh offers where each line ends, for each
# one line of words, those that are files left out. FOLDER holds _jitctl.
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "
  PS1=; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D
  compadd() {
    local -a offered; builtin compadd -O offered \"\$@\"; print -rn -- \"<\${^offered}>\"
    builtin compadd \"\$@\"
  }
  end_mark() { comppostfuncs=(end_mark); print -n '<e''nd>' }
  comppostfuncs=(end_mark); print 'rea''dy'"
shift
zpty -r shell text '*ready*'
for line; do
  zpty -w -n shell $'\C-U'"$line"$'\t'
  zpty -r shell text '*<end>*'
  words=()
  while [[ $text == *'<'*'>'* ]]; do
    text=${text#*'<'}
    word=${text%%'>'*}
    [[ -n $word && $word != end && ! -e $word ]] && words+=$word
  done
  print -r -- $words
done
zpty -d shell
