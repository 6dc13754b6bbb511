using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>Names: lookup, directories, creation, links, renames.</content>
public sealed partial class FuseVolume
{
    [ThreadStatic]
    private static DirectoryPage? t_page;

    private void Lookup(in FuseRequest request, FuseReplier reply)
    {
        var rest = request.Body;
        var name = FuseRequest.TakeName(ref rest);
        if (name.Length > NameBytesMax)
        {
            reply.Error(request.Token, Errno.ENAMETOOLONG);
            return;
        }

        var result = _volume.Lookup(request.NodeId, name, out var attributes);
        if (result == 0)
            Entry(request.Token, attributes, reply);
        else
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
    }

    /// <summary>Gives the kernel an entry and with it a reference, which is taken back if the kernel no longer waits.</summary>
    private void Entry(FuseReplyToken token, in ObjectAttributes attributes, FuseReplier reply)
    {
        Note(attributes);
        if (!reply.Reply(token, FuseAttributes.Entry(attributes)))
            _volume.Forget(attributes.Object, 1);
    }

    private void ReadDirectory(in FuseRequest request, FuseReplier reply)
    {
        var page = t_page ??= new DirectoryPage();
        ref readonly var read = ref request.As<FuseReadIn>();
        page.Begin(this, request.Opcode == FuseOpcode.ReadDirectoryPlus, FuseDirectoryWriter.For(request));
        var result = _volume.ReadDirectory(read.Handle, (long)read.Offset, page.Visit);
        var length = page.End();
        if (result == 0)
        {
            if (!reply.Payload(request, length))
                page.TakeBack(_volume);
        }
        else
        {
            page.TakeBack(_volume);
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
        }
    }

    private void ChangeNamespace(in FuseRequest request, FuseReplier reply)
    {
        var token = request.Token;
        var result = Build(request, out var mutation);
        if (result != 0)
        {
            reply.Error(token, result);
            return;
        }

        if (request.IsResent)
        {
            ChangeNamespaceAgain(request, mutation, reply);
            return;
        }

        if (request.Opcode == FuseOpcode.Create)
        {
            var flags = (int)request.As<FuseCreateIn>().Flags;
            _volume.Mutate(mutation, (errno, created) => OpenCreated(token, mutation, flags, errno, created, reply));
            return;
        }

        if (mutation.Kind == MutationKind.Rename && (mutation.Flags & Libc.RenameExchange) != 0)
        {
            Exchange(request, mutation, reply);
            return;
        }

        if (mutation.Kind is MutationKind.Unlink or MutationKind.RemoveDirectory or MutationKind.Rename)
        {
            Mutate(mutation, token, reply);
            return;
        }

        _volume.Mutate(mutation, (errno, attributes) =>
        {
            if (errno == 0)
                Entry(token, attributes, reply);
            else
                reply.Error(token, VolumeErrno.ForKernel(errno));
        });
    }

    /// <returns>0, or an errno for a request that is refused here.</returns>
    private int Build(in FuseRequest request, out Mutation mutation)
    {
        mutation = Parse(request);
        if (mutation.Name.Length > NameBytesMax || mutation.NewName.Length > NameBytesMax)
            return Errno.ENAMETOOLONG;
        if (mutation.Kind == MutationKind.Rename && (mutation.Flags & ~(Libc.RenameNoReplace | Libc.RenameExchange)) != 0)
            return Errno.EINVAL;
        return request.Opcode switch
        {
            FuseOpcode.Create => Inherit(ref mutation, request.As<FuseCreateIn>().Umask),
            FuseOpcode.MakeNode => Inherit(ref mutation, request.As<FuseMakeNodeIn>().Umask),
            FuseOpcode.MakeDirectory => Inherit(ref mutation, request.As<FuseMakeDirectoryIn>().Umask),
            FuseOpcode.Symlink => Inherit(ref mutation, 0),
            _ => 0,
        };
    }

    private Mutation Parse(in FuseRequest request)
    {
        switch (request.Opcode)
        {
            case FuseOpcode.Create:
                var mode = StMode.Regular | request.As<FuseCreateIn>().Mode & StMode.PermissionMask;
                return Named(request, MutationKind.CreateFile, request.After<FuseCreateIn>(), out _) with { Mode = mode };
            case FuseOpcode.MakeNode:
                var (type, device) = (request.As<FuseMakeNodeIn>().Mode, request.As<FuseMakeNodeIn>().DeviceNumber);
                var kind = StMode.IsRegular(type) ? MutationKind.CreateFile : MutationKind.MakeNode;
                return Named(request, kind, request.After<FuseMakeNodeIn>(), out _) with { Mode = type, DeviceNumber = device };
            case FuseOpcode.MakeDirectory:
                mode = StMode.Directory | request.As<FuseMakeDirectoryIn>().Mode & StMode.PermissionMask;
                return Named(request, MutationKind.MakeDirectory, request.After<FuseMakeDirectoryIn>(), out _) with { Mode = mode };
            case FuseOpcode.Symlink:
                // Symbolic links have all permission bits (0777).
                var link = Named(request, MutationKind.Symlink, request.Body, out var target);
                return link with { Mode = StMode.SymbolicLink | 0x1FF, Data = Text(target) };
            case FuseOpcode.Link:
                return Named(request, MutationKind.Link, request.After<FuseLinkIn>(), out _) with { Object = request.As<FuseLinkIn>().OldNodeId };
            case FuseOpcode.Unlink:
                return Named(request, MutationKind.Unlink, request.Body, out _);
            case FuseOpcode.RemoveDirectory:
                return Named(request, MutationKind.RemoveDirectory, request.Body, out _);
            case FuseOpcode.Rename:
                var rename = Named(request, MutationKind.Rename, request.After<FuseRenameIn>(), out var newName);
                return rename with { NewParent = ObjectOf(request.As<FuseRenameIn>().NewDirectory), NewName = Text(newName) };
            case FuseOpcode.Rename2:
                ref readonly var to = ref request.As<FuseRename2In>();
                rename = Named(request, MutationKind.Rename, request.After<FuseRename2In>(), out newName);
                return rename with { NewParent = ObjectOf(to.NewDirectory), NewName = Text(newName), Flags = to.Flags };
            default:
                throw new FuseException($"{request.Opcode} changes no names.");
        }
    }

    private static Mutation Named(in FuseRequest request, MutationKind kind, ReadOnlySpan<byte> names, out ReadOnlySpan<byte> rest)
    {
        rest = names;
        return new Mutation(kind)
        {
            Parent = request.NodeId,
            Name = Text(FuseRequest.TakeName(ref rest)),
            Uid = request.Header.Uid,
            Gid = request.Header.Gid,
            ModifyTimeNs = Libc.FileTimeNs(),
        };
    }

    /// <summary>A copy that outlives the request, up to a terminating zero.</summary>
    private static byte[] Text(ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)0);
        return (end < 0 ? bytes : bytes[..end]).ToArray();
    }

    /// <summary>What the kernel's inode_init_owner and posix_acl_create do for file systems of its own: entries of a set-group-id
    /// directory get its group, directories the bit as well; a default ACL takes the place of the umask.</summary>
    private int Inherit(ref Mutation mutation, uint umask)
    {
        var result = _volume.GetAttributes(mutation.Parent, out var directory);
        if (result == 0 && _keepsAcls && mutation.Kind != MutationKind.Symlink)
            result = InheritAcl(ref mutation, umask);
        if (result != 0 || (directory.Mode & SetGroupId) == 0)
            return VolumeErrno.ForKernel(result);
        var inherited = mutation.Kind == MutationKind.MakeDirectory ? SetGroupId : 0;
        mutation = mutation with { Gid = directory.Gid, Mode = mutation.Mode | inherited };
        return 0;
    }

    private void OpenCreated(FuseReplyToken token, Mutation create, int flags, int errno, ObjectAttributes created, FuseReplier reply)
    {
        if (errno == Errno.EEXIST && (flags & OpenFlags.Exclusive) == 0)
        {
            OpenExisting(token, create, flags, reply);
            return;
        }

        if (errno != 0)
        {
            reply.Error(token, VolumeErrno.ForKernel(errno));
            return;
        }

        var result = _volume.Open(created.Object, flags & ~(OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.Truncate), out var handle);
        if (result != 0)
        {
            _volume.Forget(created.Object, 1);
            reply.Error(token, VolumeErrno.ForKernel(result));
            return;
        }

        Note(created);
        _open.Add(handle, created.Object, OpenFiles.Writes(flags) ? created.ModifyTimeNs : null);
        var answer = new FuseCreateOut
        {
            Entry = FuseAttributes.Entry(created),
            Open = new FuseOpenOut { Handle = handle, OpenFlags = ModeOf(flags) },
        };
        if (reply.Reply(token, answer))
            return;
        Close(handle, created.Object, OpenFiles.Writes(flags));
        _volume.Forget(created.Object, 1);
    }

    /// <summary>Somebody created the name between the kernel's lookup and its CREATE. The kernel takes the file for a new one, so the
    /// truncation that it would ask for with SETATTR is done here.</summary>
    private void OpenExisting(FuseReplyToken token, Mutation create, int flags, FuseReplier reply)
    {
        var result = _volume.Lookup(create.Parent, create.Name, out var existing);
        if (result == 0 && !StMode.IsRegular(existing.Mode))
        {
            _volume.Forget(existing.Object, 1);
            result = StMode.IsDirectory(existing.Mode) ? Errno.EISDIR : Errno.EEXIST;
        }

        if (result != 0)
        {
            reply.Error(token, VolumeErrno.ForKernel(result));
            return;
        }

        if ((flags & OpenFlags.Truncate) == 0)
        {
            OpenCreated(token, create, flags | OpenFlags.Exclusive, 0, existing, reply);
            return;
        }

        var truncate = new Mutation(MutationKind.SetAttributes)
        {
            Object = existing.Object,
            Mask = AttributeMask.Size | AttributeMask.ModifyTime,
            ModifyTimeNs = create.ModifyTimeNs,
        };
        _volume.Mutate(truncate, (errno, truncated) =>
        {
            if (errno != 0)
                _volume.Forget(existing.Object, 1);
            OpenCreated(token, create, flags | OpenFlags.Exclusive, errno, truncated, reply);
        });
    }

    private unsafe void ReadLink(in FuseRequest request, FuseReplier reply)
    {
        // PATH_MAX (limits.h).
        var target = stackalloc byte[4096];
        var result = _volume.ReadLink(request.NodeId, new Span<byte>(target, 4096), out var length);
        if (result == 0)
            reply.Data(request.Token, new ReadOnlySpan<byte>(target, length));
        else
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
    }

    /// <summary>One reply to READDIR or READDIRPLUS in the making; one per worker, so that reading directories allocates nothing.</summary>
    private sealed class DirectoryPage
    {
        private readonly List<ulong> _referenced = [];
        private FuseVolume _owner = null!;
        private FuseDirectoryWriter _writer;
        private bool _plus;

        public DirectoryPage() => Visit = Add;

        public DirectoryVisitor Visit { get; }

        public void Begin(FuseVolume owner, bool plus, FuseDirectoryWriter writer)
        {
            _owner = owner;
            _plus = plus;
            _writer = writer;
            _referenced.Clear();
        }

        public int End() => _writer.Length;

        public void TakeBack(IModuleVolume volume)
        {
            foreach (var obj in _referenced)
                volume.Forget(obj, 1);
            _referenced.Clear();
        }

        private bool Add(ReadOnlySpan<byte> name, in ObjectAttributes attributes, long nextCookie)
        {
            if (!_plus)
                return _writer.TryAdd(name, attributes.Object, attributes.Mode, nextCookie);
            // The kernel takes no reference for "." and "..".
            if (name is [(byte)'.'] or [(byte)'.', (byte)'.'])
                return _writer.TryAddPlus(name, new FuseEntryOut { Attr = FuseAttributes.Attr(attributes) }, nextCookie);
            if (!_writer.TryAddPlus(name, FuseAttributes.Entry(attributes), nextCookie))
                return false;
            _owner.Note(attributes);
            _owner._volume.Reference(attributes.Object);
            _referenced.Add(attributes.Object);
            return true;
        }
    }
}
