using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Pollux.DataPlane.Fuse;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>The structures against the kernel's header: recorded sizes of protocol 7.45, and, where the machine has a compiler and
/// linux/fuse.h, sizes and offsets as that compiler sees them.</summary>
public sealed unsafe class KernelLayoutTests
{
    private static readonly (string Kernel, int SizeBytes, int Ours)[] s_sizes =
    [
        ("fuse_in_header", 40, sizeof(FuseInHeader)), ("fuse_out_header", 16, sizeof(FuseOutHeader)),
        ("fuse_init_in", 64, sizeof(FuseInitIn)), ("fuse_init_out", 64, sizeof(FuseInitOut)),
        ("fuse_forget_in", 8, sizeof(FuseForgetIn)), ("fuse_forget_one", 16, sizeof(FuseForgetOne)),
        ("fuse_batch_forget_in", 8, sizeof(FuseBatchForgetIn)), ("fuse_getattr_in", 16, sizeof(FuseGetAttrIn)),
        ("fuse_setattr_in", 88, sizeof(FuseSetAttrIn)), ("fuse_mknod_in", 16, sizeof(FuseMakeNodeIn)),
        ("fuse_mkdir_in", 8, sizeof(FuseMakeDirectoryIn)), ("fuse_rename_in", 8, sizeof(FuseRenameIn)),
        ("fuse_rename2_in", 16, sizeof(FuseRename2In)), ("fuse_link_in", 8, sizeof(FuseLinkIn)),
        ("fuse_open_in", 8, sizeof(FuseOpenIn)), ("fuse_create_in", 16, sizeof(FuseCreateIn)),
        ("fuse_release_in", 24, sizeof(FuseReleaseIn)), ("fuse_flush_in", 24, sizeof(FuseFlushIn)),
        ("fuse_read_in", 40, sizeof(FuseReadIn)), ("fuse_write_in", 40, sizeof(FuseWriteIn)),
        ("fuse_fsync_in", 16, sizeof(FuseFsyncIn)), ("fuse_getxattr_in", 8, sizeof(FuseGetXattrIn)),
        ("fuse_setxattr_in", 16, sizeof(FuseSetXattrExtendedIn)),
        ("fuse_access_in", 8, sizeof(FuseAccessIn)), ("fuse_interrupt_in", 8, sizeof(FuseInterruptIn)),
        ("fuse_fallocate_in", 32, sizeof(FuseFallocateIn)), ("fuse_lseek_in", 24, sizeof(FuseSeekIn)),
        ("fuse_attr", 88, sizeof(FuseAttr)), ("fuse_entry_out", 128, sizeof(FuseEntryOut)),
        ("fuse_attr_out", 104, sizeof(FuseAttrOut)), ("fuse_open_out", 16, sizeof(FuseOpenOut)),
        ("fuse_write_out", 8, sizeof(FuseWriteOut)), ("fuse_statfs_out", 80, sizeof(FuseStatFsOut)),
        ("fuse_getxattr_out", 8, sizeof(FuseGetXattrOut)), ("fuse_lseek_out", 8, sizeof(FuseSeekOut)),
        ("fuse_dirent", 24, sizeof(FuseDirectoryEntry)), ("fuse_direntplus", 152, sizeof(FuseDirectoryEntryPlus)),
        ("fuse_notify_inval_inode_out", 24, sizeof(FuseNotifyInvalidateInodeOut)),
        ("fuse_notify_inval_entry_out", 16, sizeof(FuseNotifyInvalidateEntryOut)),
        ("fuse_notify_delete_out", 24, sizeof(FuseNotifyDeleteOut)),
    ];

    [Fact]
    public void Structures_have_the_sizes_of_protocol_7_45()
    {
        foreach (var (kernel, sizeBytes, ours) in s_sizes)
            Assert.True(sizeBytes == ours, $"struct {kernel} has {sizeBytes} bytes, ours {ours}");
        Assert.Equal(8, sizeof(FuseSetXattrIn)); // FUSE_COMPAT_SETXATTR_IN_SIZE
        Assert.Equal(sizeof(FuseEntryOut) + sizeof(FuseOpenOut), sizeof(FuseCreateOut));
    }

    [HeaderFact]
    public void Fields_stand_where_the_header_of_this_machine_has_them()
    {
        var program = new StringBuilder("#include <linux/fuse.h>\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {\n");
        foreach (var (kernel, _, _) in s_sizes)
            program.Append(CultureInfo.InvariantCulture, $"printf(\"{kernel} %zu\\n\", sizeof(struct {kernel}));\n");
        foreach (var (field, _) in Offsets())
            program.Append(CultureInfo.InvariantCulture, $"printf(\"{field} %zu\\n\", offsetof(struct {Comma(field)}));\n");
        foreach (var (name, _) in Constants())
            program.Append(CultureInfo.InvariantCulture, $"printf(\"{name} %llu\\n\", (unsigned long long)(unsigned)({name}));\n");
        var seen = CompileAndRun(program.Append("return 0; }\n").ToString());

        foreach (var (kernel, _, ours) in s_sizes)
            Assert.True(seen[kernel] == (ulong)ours, $"struct {kernel} has {seen[kernel]} bytes, ours {ours}");
        foreach (var (field, ours) in Offsets())
            Assert.True(seen[field] == (ulong)ours, $"{field} stands at {seen[field]}, ours at {ours}");
        foreach (var (name, ours) in Constants())
            Assert.True(seen[name] == ours, $"{name} is {seen[name]}, ours {ours}");
    }

    private static (string Field, int OffsetBytes)[] Offsets()
    {
        FuseInHeader header = default;
        FuseSetAttrIn set = default;
        FuseReadIn read = default;
        FuseWriteIn write = default;
        FuseAttr attr = default;
        FuseEntryOut entry = default;
        FuseInitOut init = default;
        FuseStatFsOut statfs = default;
        FuseFallocateIn allocate = default;
        FuseDirectoryEntry directory = default;
        return
        [
            ("fuse_in_header.unique", At(ref header, ref header.Unique)), ("fuse_in_header.nodeid", At(ref header, ref header.NodeId)),
            ("fuse_in_header.pid", At(ref header, ref header.Pid)), ("fuse_setattr_in.size", At(ref set, ref set.Size)),
            ("fuse_setattr_in.atime", At(ref set, ref set.AccessTime)), ("fuse_setattr_in.mtimensec", At(ref set, ref set.ModifyTimeNs)),
            ("fuse_setattr_in.mode", At(ref set, ref set.Mode)), ("fuse_setattr_in.uid", At(ref set, ref set.Uid)),
            ("fuse_setattr_in.gid", At(ref set, ref set.Gid)), ("fuse_read_in.size", At(ref read, ref read.Size)),
            ("fuse_read_in.flags", At(ref read, ref read.Flags)), ("fuse_write_in.offset", At(ref write, ref write.Offset)),
            ("fuse_write_in.write_flags", At(ref write, ref write.WriteFlags)), ("fuse_write_in.flags", At(ref write, ref write.Flags)),
            ("fuse_attr.mtime", At(ref attr, ref attr.ModifyTime)), ("fuse_attr.atimensec", At(ref attr, ref attr.AccessTimeNs)),
            ("fuse_attr.mode", At(ref attr, ref attr.Mode)), ("fuse_attr.rdev", At(ref attr, ref attr.DeviceNumber)),
            ("fuse_attr.blksize", At(ref attr, ref attr.BlockSize)), ("fuse_entry_out.attr", At(ref entry, ref entry.Attr)),
            ("fuse_entry_out.attr_valid", At(ref entry, ref entry.AttrValidSeconds)),
            ("fuse_init_out.max_background", At(ref init, ref init.BackgroundMax)),
            ("fuse_init_out.max_write", At(ref init, ref init.WriteMax)), ("fuse_init_out.max_pages", At(ref init, ref init.PagesMax)),
            ("fuse_init_out.flags2", At(ref init, ref init.Flags2)), ("fuse_statfs_out.st.namelen", At(ref statfs, ref statfs.NameLengthMax)),
            ("fuse_fallocate_in.mode", At(ref allocate, ref allocate.Mode)), ("fuse_dirent.type", At(ref directory, ref directory.Type)),
        ];
    }

    private static (string Name, ulong Value)[] Constants() =>
    [
        ("FUSE_RENAME2", (ulong)FuseOpcode.Rename2), ("FUSE_SYNCFS", (ulong)FuseOpcode.SyncFs), ("FUSE_LSEEK", (ulong)FuseOpcode.Seek),
        ("FUSE_READDIRPLUS", (ulong)FuseOpcode.ReadDirectoryPlus), ("FUSE_FALLOCATE", (ulong)FuseOpcode.Fallocate),
        ("FUSE_BATCH_FORGET", (ulong)FuseOpcode.BatchForget), ("FUSE_CREATE", (ulong)FuseOpcode.Create),
        ("FUSE_ASYNC_DIO", (ulong)FuseInitFlags.AsyncDirectIo), ("FUSE_MAX_PAGES", (ulong)FuseInitFlags.MaxPages),
        ("FUSE_PARALLEL_DIROPS", (ulong)FuseInitFlags.ParallelDirectoryOperations), ("FUSE_ABORT_ERROR", (ulong)FuseInitFlags.AbortError),
        ("FUSE_HANDLE_KILLPRIV_V2", (ulong)FuseInitFlags.HandleKillPrivilegesV2), ("FUSE_INIT_EXT", (ulong)FuseInitFlags.InitExtended),
        ("FUSE_AUTO_INVAL_DATA", (ulong)FuseInitFlags.AutoInvalidateData), ("FUSE_WRITEBACK_CACHE", (ulong)FuseInitFlags.WritebackCache),
        ("FOPEN_DIRECT_IO", (ulong)FuseOpenFlags.DirectIo), ("FOPEN_PARALLEL_DIRECT_WRITES", (ulong)FuseOpenFlags.ParallelDirectWrites),
        ("FATTR_MTIME_NOW", (ulong)FuseSetAttrMask.ModifyTimeNow), ("FATTR_KILL_SUIDGID", (ulong)FuseSetAttrMask.KillSuidGid),
        ("FUSE_WRITE_KILL_SUIDGID", (ulong)FuseWriteFlags.KillSuidGid), ("FUSE_NOTIFY_INVAL_ENTRY", (ulong)FuseNotifyCode.InvalidateEntry),
        ("FUSE_FSYNC_FDATASYNC", (ulong)FuseFsyncFlags.DataOnly), ("FUSE_COMPAT_SETXATTR_IN_SIZE", (ulong)sizeof(FuseSetXattrIn)),
        ("FUSE_POSIX_ACL", (ulong)FuseInitFlags.PosixAcl), ("FUSE_DONT_MASK", (ulong)FuseInitFlags.DontMask),
        ("FUSE_SETXATTR_EXT", (ulong)FuseInitFlags.SetXattrExtended), ("FUSE_SETXATTR_ACL_KILL_SGID", (ulong)FuseSetXattrFlags.AclKillSgid),
        ("FUSE_DEV_IOC_CLONE", 0x8004E500),
    ];

    /// <summary>"structure.field.inner" as the two arguments of offsetof.</summary>
    private static string Comma(string field)
    {
        var dot = field.IndexOf('.', StringComparison.Ordinal);
        return string.Concat(field.AsSpan(0, dot), ",", field.AsSpan(dot + 1));
    }

    private static int At<TStructure, TField>(ref TStructure structure, ref TField field) =>
        (int)Unsafe.ByteOffset(ref Unsafe.As<TStructure, byte>(ref structure), ref Unsafe.As<TField, byte>(ref field));

    private static Dictionary<string, ulong> CompileAndRun(string program)
    {
        var directory = Directory.CreateTempSubdirectory("pollux-layout-");
        try
        {
            var source = Path.Combine(directory.FullName, "layout.c");
            var binary = Path.Combine(directory.FullName, "layout");
            File.WriteAllText(source, "#include <sys/ioctl.h>\n" + program);
            FuseSessionTests.Run(HeaderFactAttribute.Compiler, "-o", binary, source);
            using var run = Process.Start(new ProcessStartInfo(binary) { RedirectStandardOutput = true })!;
            var seen = run.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => line.Split(' ')).ToDictionary(pair => pair[0], pair => ulong.Parse(pair[1], CultureInfo.InvariantCulture));
            run.WaitForExit();
            return seen;
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }
}
