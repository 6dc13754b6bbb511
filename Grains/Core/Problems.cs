using System.Globalization;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Every problem that the control plane itself tells an operator. Codes are stable.</summary>
public static class Problems
{
    private const string NothingChanged = "Nothing was changed.";

    public static Problem BadName(string what, string name) => new(
        "name.invalid", $"Not a name for a {what}", NothingChanged,
        $"'{Shorten(name)}' is not 1 to {GrainKey.NameMax} characters of a-z, 0-9 and '-', without '-' at either end.",
        "Choose another name.");

    public static Problem BadDetection(long detectionMs) => new(
        "cluster.detection", "Detection time out of range", NothingChanged,
        $"{Seconds(detectionMs)} is not between {Seconds(ClusterPolicy.DetectionMsMin)} and {Seconds(ClusterPolicy.DetectionMsMax)}.",
        "Choose a detection time in that range; 30 s is the default.");

    public static Problem BadModulesMax(int modulesMax) => new(
        "cluster.modules-max", "Module limit out of range", NothingChanged, $"{modulesMax} is not between 1 and 256.",
        $"Choose a limit in that range; {ClusterPolicy.ModulesMaxDefault} is the default.");

    public static Problem BadLink(string link) => new(
        "cluster.link", "Not a kind of link", NothingChanged, $"'{Shorten(link)}' is neither 'tls' nor 'plaintext'.",
        "Choose tls, which is the default, or plaintext on a network that nobody but the two hosts can reach.");

    public static Problem ClusterExists(string cluster) => new(
        "cluster.exists", "Cluster exists", NothingChanged, $"There is a cluster {cluster} already.", "Choose another name.");

    public static Problem ClusterUnknown(string cluster) => new(
        "cluster.unknown", "No such cluster", NothingChanged, $"There is no cluster {Shorten(cluster)}.",
        "See: pollux cluster list. Create it: pollux cluster create NAME.");

    public static Problem ClusterFull(string cluster, string first, string second) => new(
        "cluster.full", "The cluster has two hosts already", NothingChanged,
        $"Cluster {cluster} is the pair {first} and {second}; a cluster is exactly two hosts.", "Create another cluster for further hosts.");

    public static Problem ClusterIncomplete(string cluster, int hosts) => new(
        "cluster.incomplete", "The cluster is not a pair yet", NothingChanged,
        $"Cluster {cluster} has {hosts} of its two hosts.", $"Add the other: pollux host add {cluster}/NAME.");

    public static Problem HostExists(string cluster, string host) => new(
        "host.exists", "The host is in the cluster already", NothingChanged,
        $"{cluster}/{host} was added before.", $"For a new join token: pollux host token {cluster}/{host}.");

    public static Problem HostUnknown(string host) => new(
        "host.unknown", "No such host", NothingChanged, $"There is no host {Shorten(host)}.", "See: pollux status. Add it: pollux host add CLUSTER/HOST.");

    public static Problem HostForgotten(string host) => new(
        "host.unknown", "No such host", "The host is not served; what runs on it goes on.",
        $"{host} has a certificate of this installation, and the database does not know it.",
        "If the database was lost or restored from a backup, start the server once with --restored. Otherwise add the host: pollux host add CLUSTER/HOST.");

    public static Problem HostNotJoined(string host) => new(
        "host.not-joined", "The host has not joined", "The cluster is no pair yet: it takes no modules.", $"{host} has not used its join token yet.",
        "On that host: pollux-host join --server URL --token TOKEN.");

    public static Problem HostKeyForeign(string host) => new(
        "host.certificate-replaced", "Not the certificate that this host joined with", "This machine is not served.",
        $"{host} has joined with another key since.", "If this machine is to be that host, join it again with a new token: pollux host token " + host + ".");

    public static Problem TokenRefused(string host, string why) => new(
        "host.token", "Join token refused", NothingChanged, why, $"Issue a new one: pollux host token {Shorten(host)}.");

    public static Problem ModuleExists(string module) => new(
        "module.exists", "Module exists", NothingChanged, $"There is a module {module} already.", "Choose another name.");

    public static Problem ModuleUnknown(string module) => new(
        "module.unknown", "No such module", NothingChanged, $"There is no module {Shorten(module)}.", "See: pollux status.");

    public static Problem ModulePreparing(string module) => new(
        "module.preparing", "The module is still being created", NothingChanged, $"Both hosts are asked for their verdict on {module}.",
        "Try again in some seconds.");

    public static Problem ModuleLimit(string cluster, int modulesMax) => new(
        "module.limit", "The cluster has its most modules", NothingChanged,
        $"The policy of cluster {cluster} allows {modulesMax} modules and there are as many.", "Delete a module, or create it in another cluster.");

    public static Problem DirectoryInvalid(string directory) => new(
        "module.directory-invalid", "Not a module directory", NothingChanged,
        $"'{Shorten(directory)}' is not an absolute, plain path below the root (no '.', '..', doubled or closing '/', control characters).",
        "Name the VM's directory as it stands on the host, for example /vms/web.");

    public static Problem DirectoriesTooMany(int count, int most) => new(
        "module.directories-max", "Too many directories", NothingChanged, $"The module would have {count} directories; {most} are the most.",
        "Put several disks into one directory, or several directories below one.");

    public static Problem DirectoriesTooLong(int most) => new(
        "module.directories-max", "The paths are too long", NothingChanged, $"The paths of the module's directories are longer than {most} characters together.",
        "Use shorter paths.");

    public static Problem DirectoriesOverlap(string one, string other) => new(
        "module.directories-overlap", "The directories overlap", NothingChanged, $"{Shorten(one)} and {Shorten(other)} are the same, or one lies inside the other.",
        "Name each directory once; a directory is replicated with all that is below it.");

    public static Problem DirectoryTaken(string directory, string module, string other) => new(
        "module.directory-taken", "The directory belongs to another module", NothingChanged,
        $"{directory} overlaps {other} of module {module}.", "Give each module a directory of its own, none inside another.");

    public static Problem DomainTaken(string domain, string module) => new(
        "module.vm-taken", "The VM belongs to another module", NothingChanged, $"{domain} is the VM of module {module}.",
        "Name another domain.");

    public static Problem DomainInvalid(string domain) => new(
        "module.vm-invalid", "Not a domain name", NothingChanged,
        $"'{Shorten(domain)}' is not 1 to 64 characters of letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        "Name the libvirt domain as in: virsh list --all.");

    public static Problem DefinitionInvalid(string file) => new(
        "module.definition-invalid", "Not a definition file", NothingChanged,
        $"'{Shorten(file)}' is not the plain name of a file inside the module's directory.",
        "Put the domain XML into the module's directory and name it without a path: virsh dumpxml --inactive VM > DIR/VM.xml.");

    public static Problem InitialHostForeign(string cluster, string host) => new(
        "module.primary-foreign", "The primary is not a host of the cluster", NothingChanged,
        $"{Shorten(host)} is not in cluster {cluster}.", "Name the host whose directory holds the data.");

    public static Problem HostSilent(string host, bool connected, long deadlineMs) => new(
        "module.host-silent", "A host gave no verdict", NothingChanged,
        connected ? $"{host} is connected but did not answer within {Seconds(deadlineMs)}." : $"{host} is not connected.",
        $"See to it that pollux-host runs on {host} and reaches the server, then create the module again.");

    public static Problem VerdictWithoutReason(string host) => new(
        "module.host-refused", "A host refused the module", NothingChanged, $"{host} refused it and gave no reason.", $"See the log of pollux-host on {host}.");

    public static Problem CommandOpen(string module, string kind) => new(
        "module.command-open", "Another command is under way", NothingChanged, $"A {kind} of {module} has not ended yet.", "Wait for its end: pollux module show.");

    public static Problem ModuleNotRunning(string module) => new(
        "module.not-running", "The module is not running", NothingChanged, $"{module} is stopped by command.",
        "Start it: pollux module start " + module + ".");

    public static Problem SwapNotInSync(string module, string primary) => new(
        "swap.not-in-sync", "The other host does not hold all data", NothingChanged,
        $"{module} runs on {primary} alone; its peer is away or being resynced.", "Wait until status shows PRIM and SECOND, then swap.");

    public static Problem SwapNoPrimary(string module) => new(
        "swap.no-primary", "No host runs the module yet", NothingChanged, $"{module} has not been started on any host.", "See the causes in: pollux status.");

    public static Problem ModuleNoPrimary(string module) => new(
        "module.no-primary", "No host runs the module yet", NothingChanged, $"{module} has not been started on any host.", "See the causes in: pollux status.");

    public static Problem PolicyRange(string what, long value, long min, long max) => new(
        "policy.range", "Not a policy", NothingChanged, $"{value} for {what} is not between {min} and {max}.", "Give a value in that range.");

    public static Problem PolicyPreferred(string host) => new(
        "policy.preferred", "The preferred primary is not a host of the cluster", NothingChanged, $"{Shorten(host)} is not in the cluster.", "Name one of its two hosts, or none.");

    public static Problem CheckerRange(string what, long value, long min, long max) => new(
        "checker.range", "Not a checker", NothingChanged, $"{value} for {what} is not between {min} and {max}.", "Give a value in that range.");

    public static Problem CheckerTarget(string kind, string target) => new(
        "checker.target", "This cannot be tested", NothingChanged, $"'{Shorten(target)}' is no target of a checker of the kind {kind}.",
        "tcp takes HOST:PORT, ping an address or a name, script the plain name of a file in checkers.d of the host's data directory, guest nothing.");

    public static Problem CheckerWord(string what, string word) => new(
        "checker.word", "Not a checker", NothingChanged, $"'{Shorten(word)}' is no {what}.", "The kinds are tcp, ping, guest and script; what follows is restart or move.");

    public static Problem CheckerLimit(string module, int max) => new(
        "checker.limit", "Too many checkers", NothingChanged, $"{module} has {max} checkers, which are the most.", "Remove one first, or test several things in one script.");

    public static Problem CheckerUnknown(string module, string name) => new(
        "checker.unknown", "No such checker", NothingChanged, $"{module} has no checker {Shorten(name)}.", $"See which it has: pollux module checker list {module}.");

    public static Problem CheckerNoVm(string module) => new(
        "checker.no-vm", "There is nothing to check", NothingChanged, $"{module} has no VM: nothing of it runs that could be restarted or moved.", "Add checkers to modules with a VM.");

    public static Problem PlaceForeign(string module, string host) => new(
        "place.foreign", "Not a host of the module's cluster", NothingChanged, $"{Shorten(host)} does not mirror {module}.", "Name one of its two hosts: pollux module show " + module + ".");

    public static Problem PlaceNotInSync(string module, string host, string inSync) => new(
        "place.not-in-sync", "This host does not hold all data", NothingChanged,
        $"{host} is not in the in-sync set of {module}, which is {inSync}: acknowledged writes are missing there.",
        "Start the module where its data is; the other host is resynced then, and can become primary: pollux module start " + module + ".");

    public static Problem ForceOtherConnected(string module, string other) => new(
        "force.other-connected", "The other host is there", NothingChanged, $"{other} is connected to the control plane, or the other host hears it, so it is not off; it may hold writes of {module} that the other copy lacks.",
        "Let it run the module, or switch it off first.");

    public static Problem ForceHostSilent(string module, string host) => new(
        "force.host-silent", "The state of the copy is not known", NothingChanged, $"{host} is not connected, or has said nothing of {module} yet.", "Start pollux-host there and look again.");

    public static Problem ForceNotNeeded(string module, string host) => new(
        "force.not-needed", "This host needs no force", NothingChanged, $"{host} is in the in-sync set of {module}: it holds every acknowledged write and takes over by itself.",
        "See what it waits for: pollux module show " + module + ".");

    public static Problem ForceCopyTorn(string module, string host, string dataState) => new(
        "force.copy-torn", "This copy is of no single moment", NothingChanged, $"The copy of {module} on {host} is {dataState}: it is unknown, or the half of a resync.",
        "An older copy may have been kept beside it (docs/storage.md), or use a backup.");

    public static Problem ForceRecordMoved(string module, long seen, long epoch) => new(
        "force.record-moved", "The record has changed since", NothingChanged, $"The record of {module} is at epoch {epoch}; the word was about epoch {seen}.", "Look again at what would be lost, and repeat it with that epoch.");

    public static Problem ForceWordMissing(string module) => new(
        "force.word-missing", "The word that the other host is off is missing", NothingChanged, $"Nobody but the operator can know that the other host of {module} does not run it.",
        "Make certain that the other host is off, then say so: --other-host-is-off.");

    public static Problem VerifyNotRunning(string module) => new(
        "verify.not-running", "The module does not run", NothingChanged, $"{module} is stopped or was never started; copies are compared while one host serves the module.",
        "Start it: pollux module start " + module + ".");

    public static Problem VerifyNotMirrored(string module, string primary) => new(
        "verify.not-mirrored", "The module is not mirrored at the moment", NothingChanged,
        $"{module} runs on {primary} alone; its peer is away or being resynced, and a resync makes the copies equal anyway.",
        "Wait until status shows PRIM and SECOND, then verify.");

    public static Problem VerifyOpen(string module, string host) => new(
        "verify.open", "A verify is under way", NothingChanged, $"{host} compares the copies of {module}.",
        $"Wait for its end: pollux module show {module}. Or end it: pollux module verify {module} --stop.");

    public static Problem VerifyNone(string module) => new(
        "verify.none", "There is no verify", NothingChanged, $"None was ever ordered for {module}.", "Begin one: pollux module verify " + module + ".");

    public static Problem VerifyLimit(long bytesPerSecond) => new(
        "verify.limit", "Not a limit of a verify", NothingChanged, $"{bytesPerSecond} bytes per second is not between 0 and {ResyncPolicy.BytesPerSecondLimit}.",
        "Give a rate in that range; 0 means no limit.");

    public static Problem ResyncLimits(long min, long max) => new(
        "resync.limits", "Not limits of a resync", NothingChanged,
        $"The minimum of {min} and the maximum of {max} bytes per second are not in order, or not between 0 and {ResyncPolicy.BytesPerSecondLimit}.",
        "Give a maximum that is at least the minimum; a maximum of 0 means no limit.");

    public static Problem DeleteRunning(string module) => new(
        "module.running", "The module is to run", NothingChanged, $"{module} is started.", "Stop it first: pollux module stop " + module + ".");

    public static Problem DeleteStopping(string module, string host, string role) => new(
        "module.stopping", "The module has not stopped yet", NothingChanged, $"{host} is still {role} of {module}.", "Wait until both hosts show STOP, then delete it.");

    public static Problem HostUnreachable(string host, long silentMs) => new(
        "host.unreachable", "Host unreachable",
        "The control plane does not see this host; its modules go on or fail over by themselves.",
        silentMs < 0 ? $"{host} has never connected." : $"Nothing was heard from {host} for {Seconds(silentMs)}.",
        $"If it clears, none. Otherwise see to power and network of {host}, and that pollux-host runs there.");

    public static Problem NetworkDown(string host, NetworkReport network, int networks) => new(
        "network.down", $"Network {network.Number} of {networks} to the peer is down",
        "None while another network carries beacons and replication; there is less left to fall back on.",
        $"{host} hears nothing over {Shorten(network.PeerAddress)}{(network.SilentMs is { } silentMs ? $" for {Seconds(silentMs)}" : "")}: {Shorten(network.Status)}.",
        "Mend the network between the hosts, or take its address away: pollux-host addresses --address A … on both.");

    public const string RecordForgottenCode = "record.forgotten";

    private const string NothingGranted =
        "Nothing is granted: no failover, no start, no return of a host to the mirror. What runs goes on as it is.";

    public static Problem ClusterRecovering(string cluster) => new(
        "cluster.recovering", "The cluster is being recovered", NothingChanged,
        $"The control plane was declared restored, and the records of {cluster} are not all recovered from its hosts' reports yet.",
        "See what is missing: pollux status.");

    /// <param name="silent">Names of hosts that have not reported, if others have.</param>
    public static Problem ClusterReportsMissing(string cluster, IReadOnlyCollection<string> silent) => new(
        "cluster.reports-missing", "The hosts have not reported since the restore", NothingGranted,
        $"The control plane was declared restored, and {(silent.Count > 0 ? string.Join(" and ", silent) : $"not every host of {cluster}")} has not reported since.",
        "See to it that pollux-host runs on both hosts and reaches the server; they report by themselves.");

    public static readonly Problem ControlSuperseded = new(
        "control.superseded", "This server runs since before the restore", NothingGranted,
        "The database was declared restored while this server ran; what it remembers is older.",
        "Stop it and start it again: systemctl restart pollux-server. See docs/runbooks/restore-from-backup.md.");

    public static Problem RecordOlder(string module) => DatabaseOlder($"A host has a later epoch of the record of {module} than the database.");

    public static Problem OrdersOlder(string host) => DatabaseOlder($"{host} has later orders than the database ever gave out.");

    private static Problem DatabaseOlder(string seen) => new(
        "database.older", "The database is older than the hosts", NothingGranted,
        $"{seen} The database was restored from a backup, or failed over to a standby that was not synchronous, and nobody has said so.",
        "Declare it: stop the server, start it once with --restored. See docs/runbooks/restore-from-backup.md.");

    public static Problem ClusterForeignPeer(string cluster, string host, string peer) => new(
        "cluster.recovery-conflict", "The hosts do not agree on who the pair is", NothingGranted,
        $"{cluster}/{host} says that its peer is {peer}; the cluster has two other hosts already.",
        $"If {host} is no host of this cluster any more, stop pollux-host on it.");

    public static Problem RecordSilent(string module, string who) => new(
        "record.silent", "The record waits for the hosts' reports", NothingGranted, $"{module}: the control plane was declared restored. {who}",
        "See to it that pollux-host runs on both hosts and reaches the server; they report by themselves.");

    public static Problem RecordUnconfirmed(string module, HostTestimony known, HostTestimony missing)
    {
        var (knows, other) = (GrainKey.NameOf(known.Host), GrainKey.NameOf(missing.Host));
        var record = known.Record!;
        var said = missing.Answered ? $"{other} has reported and has no record of it" : $"{other} has not reported since";
        var confirm = $"pollux module confirm-record {module} --host {knows} --epoch {record.Epoch}";
        return new Problem(
            "record.unconfirmed", "The record is known from one host only", NothingGranted,
            $"{module}: the control plane was declared restored, and {said}. {knows} has epoch {record.Epoch}, primary "
            + $"{(record.Primary is { } primary ? GrainKey.NameOf(primary) : "none")}, in sync {string.Join(" and ", record.InSync.Select(GrainKey.NameOf))}; its copy is {known.Memory!.DataState}.",
            (missing.Answered
                ? $"If {other} was replaced, or has lost what it had stored: {confirm}. What its former self alone has acknowledged after epoch {record.Epoch} is lost with that; it must be off."
                : $"Bring {other} back; it is decided by itself then. If {other} is gone for good, or switched off for certain: {confirm}. "
                    + $"What {other} alone has acknowledged after epoch {record.Epoch} is lost with that; and if it still runs the VM, both would."));
    }

    public static Problem RecordConflict(string module, HostTestimony one, HostTestimony other) => new(
        "record.conflict", "The hosts contradict each other", NothingGranted,
        $"{module}: {GrainKey.NameOf(one.Host)} and {GrainKey.NameOf(other.Host)} have different records of the same epoch {one.Record!.Epoch}.",
        $"Find out which copy is the newer one, see to it that the other host does not run the VM, and name the host: pollux module confirm-record {module} --host HOST --epoch {one.Record.Epoch}.");

    public static Problem RecordBehind(string module, ArbiterRecord own, HostTestimony highest) => new(
        "record.behind", "The hosts know less than the database", NothingGranted,
        $"{module}: the database remembers epoch {own.Epoch}, primary {(own.Primary is { } primary ? GrainKey.NameOf(primary) : "none")}; the newest that a host has is epoch {highest.Record!.Epoch}, of {GrainKey.NameOf(highest.Host)}. A host has lost its state or has an older copy of it.",
        $"Find out which copy is whole, then let the database's record count: pollux module confirm-record {module} --host {GrainKey.NameOf(highest.Host)} --epoch {highest.Record.Epoch}.");

    public static Problem RecordForgotten(string module, string why) => new(
        RecordForgottenCode, "No host has a record of the module", NothingGranted, $"{module}: {why}",
        $"It was deleted after the backup, or its hosts were replaced. Forget it (the directories stay as they are): pollux module confirm-record {module} --forget. It can be created again from its directory.");

    public static Problem ConfirmNotAsked(string module) => new(
        "record.not-asked", "There is nothing to confirm", NothingChanged, $"{module} does not wait for an operator's word, or not for this one.",
        "See what is missing: pollux status. Name the host and the epoch that it shows.");

    private static string Seconds(long milliseconds) => (milliseconds / 1000.0).ToString("0.###", CultureInfo.InvariantCulture) + " s";

    /// <summary>Foreign text in a message stays within a line and cannot forge another one.</summary>
    private static string Shorten(string text)
    {
        var line = new string([.. text.Take(80).Select(c => char.IsControl(c) ? '?' : c)]);
        return text.Length > 80 ? line + "…" : line;
    }
}
