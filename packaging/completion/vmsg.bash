# Completion of vmsg for bash. Words that depend on the host (guests, devices) are asked for when
# they are wanted; without Xen there are none.
# shellcheck shell=bash

_vmsg_guests() {
  xl list 2>/dev/null | awk 'NR > 1 && $2 > 0 { print $1 }'
}

_vmsg_devices() { # GUEST
  vmsg list "$1" 2>/dev/null | awk 'NR > 1 { print $2 }'
}

_vmsg_options() { # COMMAND
  case $1 in
    create) echo "--timeout --devices --run-folder --help" ;;
    check) echo "--quiet --devices --help" ;;
    attach | resize) echo "--timeout --help" ;;
    detach) echo "--force --timeout --help" ;;
    list) echo "--json --help" ;;
    show) echo "--json --socket --help" ;;
    console) echo "--help" ;;
    top) echo "--interval --once --json --socket --help" ;;
    trace) echo "--count --json --socket --help" ;;
    watch) echo "--folder --devices --run-folder --help" ;;
  esac
}

_vmsg() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local commands="create check attach detach resize list show console top trace watch"
  local command='' guest='' place=0 i word
  COMPREPLY=()

  # What stands before the cursor: the command, and how many words that are no options.
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      --timeout | --devices | --run-folder | --socket | --folder | --interval | --count | -i | -n)
        ((++i))
        ;;
      -*) ;;
      *)
        if [ -z "$command" ]; then
          command=$word
        else
          [ -n "$guest" ] || guest=$word
          ((++place))
        fi
        ;;
    esac
  done

  case $previous in
    --devices | --socket)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --run-folder | --folder)
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    --timeout | --interval | --count | -i | -n) return ;;
  esac
  if [ -z "$command" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_vmsg_options "$command")" -- "$current")
    return
  fi
  case $command:$place in
    create:0 | check:0) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    attach:0 | detach:0 | resize:0 | list:0 | show:0 | console:0 | trace:0)
      mapfile -t COMPREPLY < <(compgen -W "$(_vmsg_guests)" -- "$current")
      ;;
    detach:1 | resize:1 | show:1 | console:1)
      mapfile -t COMPREPLY < <(compgen -W "$(_vmsg_devices "$guest")" -- "$current")
      ;;
    attach:1)
      compopt -o nospace 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -W "type=blk, type=net, type=console type=rng" -- "$current")
      ;;
  esac
}

complete -o filenames -F _vmsg vmsg
