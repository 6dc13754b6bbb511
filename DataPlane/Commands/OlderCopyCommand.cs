using System.CommandLine;
using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host older-copy list|restore</c>: what a resync keeps of the state before it. Works on the files of this host, with or
/// without a running data plane or control plane; the module itself is never changed.</summary>
internal static class OlderCopyCommand
{
    private static readonly Option<string?> Module = new("--module") { Description = "Module, as 'pollux-host status' names it: CLUSTER/MODULE, or MODULE.", HelpName = "M" };

    private static readonly Option<string[]> Folders = new("--directory")
    {
        Description = "Instead of --module: the module's directory (once for each, in their order), for a module that this host no longer knows.",
        HelpName = "DIR",
    };

    public static Command Make(Option<string> data, Func<Func<Task<int>>, Task<int>> guarded)
    {
        var command = new Command("older-copy", "The copy that a host keeps of a module while it is resynced, where the file system has reflinks.");
        var list = new Command("list", "Shows what is kept.") { Module, Folders, data };
        list.SetAction(parsed => guarded(() =>
        {
            List(DirectoriesOf(parsed, data), Console.Out);
            return Task.FromResult(0);
        }));
        var to = new Option<string>("--to") { Required = true, Description = "New or empty directory, outside the module. Of a module with several directories each goes into one of its own in there: 1, 2, …", HelpName = "DIR" };
        var restore = new Command("restore", "Copies it out: shares blocks on the same file system, copies them to another.") { Module, Folders, data, to };
        restore.SetAction((parsed, cancel) => guarded(() =>
        {
            Restore(DirectoriesOf(parsed, data), Path.GetFullPath(parsed.GetRequiredValue(to)), Console.Out, cancel);
            return Task.FromResult(0);
        }));
        command.Subcommands.Add(list);
        command.Subcommands.Add(restore);
        return command;
    }

    /// <exception cref="HostStartException">The directory cannot be looked into.</exception>
    internal static void List(IReadOnlyList<string> directories, TextWriter output)
    {
        var kept = Complete(directories);
        if (kept is null)
            output.WriteLine($"no older copy is kept in {string.Join(", ", directories)}");
        else
            Look(directories[0], "", folder => output.WriteLine(
                string.Create(CultureInfo.InvariantCulture, $"{kept}  {OlderCopyAbout.Describe(folder?.About(kept.Value))}")));
    }

    /// <exception cref="HostStartException">There is no older copy, or the target is not fit.</exception>
    internal static void Restore(IReadOnlyList<string> directories, string target, TextWriter output, CancellationToken cancel)
    {
        var number = Complete(directories) ?? throw new HostStartException(
            "older-copy.none", $"No older copy is kept in {string.Join(", ", directories)}. One is made when a resync begins, on file systems with reflink, and goes when it has ended.");
        if (directories.Count == 1)
        {
            Restore(number, directories[0], directories, target, output, cancel);
            return;
        }
        RequireUnused(target);
        for (var i = 0; i < directories.Count; i++)
            Restore(number, directories[i], directories, Path.Combine(target, (i + 1).ToString(CultureInfo.InvariantCulture)), output, cancel);
    }

    private static void Restore(
        long number, string directory, IReadOnlyList<string> directories, string target, TextWriter output, CancellationToken cancel)
    {
        using var into = OpenTarget([.. directories.Select(Resolve)], target);
        Look(directory, $" What is in {target} is not whole.", folder =>
        {
            IDisposable? held = null;
            using var tree = folder?.OpenTree(number, out held);
            using (held)
            {
                if (tree is null)
                    throw new HostStartException("older-copy.none", $"Older copy {number} is being removed: the resync has ended.");
                var copied = TreeCopy.Run((int)tree.DangerousGetHandle(), (int)into.DangerousGetHandle(), new()
                {
                    MayCopyBytes = true, GiveUpReason = () => cancel.IsCancellationRequested ? "it was interrupted" : null,
                });
                if (Libc.SyncFs((int)into.DangerousGetHandle()) != 0)
                    throw StorageException.FromLastErrno($"flushing {target}");
                output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"restored older copy {number} of {directory} to {target}: {copied.Entries} entries, {copied.ClonedFiles} files shared, {copied.CopiedFiles} files with {copied.CopiedBytes} bytes copied"));
                if (copied.XattrsLeftOut > 0)
                    output.WriteLine($"{copied.XattrsLeftOut} extended attributes were left out: the target's file system does not take them");
            }
        });
    }

    /// <summary>The copy that is complete in every directory; null: none.</summary>
    private static long? Complete(IReadOnlyList<string> directories)
    {
        IEnumerable<long>? numbers = null;
        foreach (var directory in directories)
        {
            Look(directory, "", folder =>
            {
                var here = folder?.Complete() ?? [];
                numbers = numbers?.Intersect(here) ?? here;
            });
        }
        return numbers?.Select(static number => (long?)number).FirstOrDefault();
    }

    private static void Look(string directory, string consequence, Action<OlderCopyFolder?> look)
    {
        try
        {
            _ = UncoveredView.Of(directory, handle =>
            {
                using var hidden = OpenHidden(handle);
                using var folder = hidden is null ? null : OlderCopyFolder.OpenIfThere((int)hidden.DangerousGetHandle());
                look(folder);
                return true;
            });
        }
        catch (Exception e) when (e is IOException or FuseException or UnauthorizedAccessException)
        {
            throw new HostStartException("older-copy.failed", $"{e.Message}.{consequence}", e);
        }
    }

    private static string Resolve(string directory)
    {
        try
        {
            return CoveredDirectory.Resolve(directory);
        }
        catch (FuseException e)
        {
            throw new HostStartException("older-copy.failed", e.Message, e);
        }
    }

    private static unsafe SafeFileHandle? OpenHidden(SafeFileHandle module)
    {
        fixed (byte* name = ".pollux\0"u8)
        {
            var fd = Libc.OpenAt((int)module.DangerousGetHandle(), name, OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec);
            return fd >= 0 ? new(fd, ownsHandle: true) : Libc.LastErrno == Errno.ENOENT ? null : throw StorageException.FromLastErrno("opening .pollux");
        }
    }

    private static void RequireUnused(string target)
    {
        if (Directory.Exists(target) ? Directory.EnumerateFileSystemEntries(target).Any() : File.Exists(target))
            throw new HostStartException("older-copy.target-in-use", $"{target} is not empty. Name a new or empty directory.");
    }

    private static unsafe SafeFileHandle OpenTarget(IReadOnlyList<string> modules, string target)
    {
        RequireUnused(target);
        var above = target;
        while (!Directory.Exists(above))
            above = Path.GetDirectoryName(above)!;
        var real = Resolve(above);
        if (modules.Any(module => real == module || real.StartsWith(module.TrimEnd('/') + "/", StringComparison.Ordinal)))
            throw new HostStartException("older-copy.target-in-module", $"{target} lies in the module's directory. An older copy is restored beside the module, never over it.");
        Directory.CreateDirectory(target);
        fixed (byte* name = Encoding.UTF8.GetBytes(target + '\0'))
        {
            var fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Directory | OpenFlags.CloseOnExec);
            return fd >= 0 ? new(fd, ownsHandle: true) : throw new HostStartException("older-copy.failed", $"{target}: {Errno.Describe(Libc.LastErrno)}");
        }
    }

    private static IReadOnlyList<string> DirectoriesOf(ParseResult parsed, Option<string> data)
    {
        if (parsed.GetValue(Folders) is { Length: > 0 } folders)
            return [.. folders.Select(Path.GetFullPath)];
        if (parsed.GetValue(Module) is not { } module)
            throw new HostStartException("older-copy.which", "Name the module with --module, or its directory with --directory.");
        var modules = new DesiredStateCache(parsed.GetRequiredValue(data)).Load()?.Modules ?? [];
        var found = modules.Where(m => m.Module == module || m.Module.EndsWith("/" + module, StringComparison.Ordinal)).ToList();
        return found.Count == 1 ? found[0].Directories : throw new HostStartException("older-copy.unknown-module",
            $"This host knows {(found.Count == 0 ? "no module" : "several modules")} '{module}' (known: {string.Join(", ", modules.Select(m => m.Module))}). Name it in full, or its directory with --directory.");
    }
}
